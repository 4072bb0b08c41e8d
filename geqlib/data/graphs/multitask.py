"""The PNA multitask benchmark: algorithms on random graphs, tested on larger ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import networkx as nx
import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.sparse.csgraph import shortest_path
from torch.utils.data import DataLoader

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.files.atomic import cached_arrays

STAY = 0.9  # share of the edges that toggling leaves, were u uniform
STARTS = (15, 20, 25, 30, 35, 40, 45, 60, 75, 95)
SPAN = 5
FIELDS = {"x": "node", "y_node": "node", "y_graph": "graph"}


class MultitaskData(SplitLoaders):
    """Six questions about random graphs: three about each node, three about the whole.

    The protocol of Corso et al. (NeurIPS 2020, arXiv 2004.05718) as published in code: 512 training
    graphs of each size from 15 to 24, and of each of five sizes 128 validation graphs (15 to 19)
    and 256 test graphs: 15 to 19 again, then larger ones, five sizes from each of `starts` on.

    Batches hold `x` [N, 2] (1 at the source, a random number from [0, 1]), `edge_index` [2, E]
    sorted by target, `batch`, `ptr`, `y_node` [N, 3] (distance from the source, eccentricity,
    Laplacian times the random numbers), `y_graph` [graphs, 3] (connected, diameter, spectral
    radius), each over its largest value in training, and `sizes`, such as "15-19". See
    `node_labels` and `graph_labels` for graphs that are not connected.

    Args:
        batch_size: graphs in a batch.
        train, val, test: graphs of each size.
        starts: the smallest of five sizes of each test set; each has its own data loader.
        data_seed: of the graphs.
        shuffle_seed: of the order of the training graphs.
        cache: folder for generated data; the user's cache folder by default.

    Example:
        >>> data = MultitaskData(4, train=1, val=1, test=1, starts=(15,))
        >>> data.prepare_data(); data.setup()
        >>> [next(iter(loader)).sizes for loader in data.test_dataloader()]
        ['15-19']
    """

    def __init__(
        self,
        batch_size: int = 128,
        *,
        train: int = 512,
        val: int = 128,
        test: int = 256,
        starts: Sequence[int] = STARTS,
        data_seed: int = 1234,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if min(batch_size, train, val, test) < 1:
            raise ValueError(
                "batch_size, train, val and test must be positive, got "
                f"{batch_size}, {train}, {val} and {test}."
            )
        if min(starts, default=0) < 2:
            raise ValueError(f"starts must name sizes of at least 2 nodes, got {list(starts)}.")
        self.batch_size, self.data_seed, self.shuffle_seed = batch_size, data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.plan = {"train": (15, 25, train), "val": (15, 15 + SPAN, val)}
        self.tests = [f"{start}-{start + SPAN - 1}" for start in starts]
        for name, start in zip(self.tests, starts, strict=True):
            self.plan[name] = (start, start + SPAN, test)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        for split in self.plan:
            self._arrays(split)

    def setup(self, stage: str | None = None) -> None:
        arrays = {split: self._arrays(split) for split in self.plan}
        largest = {key: arrays["train"][key].max(0) for key in ("y_node", "y_graph")}
        for split, part in arrays.items():
            scaled = {key: part[key] / np.where(top > 0, top, 1) for key, top in largest.items()}
            self.splits[split] = PackedGraphs(part | scaled, FIELDS, constants={"sizes": split})

    def degrees(self) -> list[int]:
        """How many training nodes have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()

    def test_dataloader(self) -> list[DataLoader]:
        return [self._in_order(name) for name in self.tests]

    def predict_dataloader(self) -> list[DataLoader]:
        return self.test_dataloader()

    def _arrays(self, split: str) -> Arrays:
        low, high, count = self.plan[split]
        # a stream for each split, which the others do not move
        stream = {"train": 0, "val": 1}.get(split, 2)
        parameters = {"sizes": [low, high], "count": count, "seed": [self.data_seed, stream, low]}
        return cached_arrays(
            "multitask", parameters, lambda: _generate(split, parameters), self.cache
        )


def _generate(split: str, parameters: dict) -> Arrays:
    rng = np.random.default_rng(parameters["seed"])
    sizes = [n for n in range(*parameters["sizes"]) for _ in range(parameters["count"])]
    console = Console(stderr=True)
    steps = track(sizes, f"graphs {split}", console=console, disable=not console.is_terminal)
    return joined([random_graph(n, rng) for n in steps], FIELDS)


def random_graph(n: int, rng: np.random.Generator) -> Arrays:
    """A graph of the mixture with its features and unscaled targets."""
    adjacency = random_adjacency(n, rng)
    values, source = rng.uniform(size=n), int(rng.integers(n))
    # rows of the transpose are targets, so that edges are sorted by target
    target, origin = np.nonzero(adjacency.T)
    return {
        "x": np.stack([np.arange(n) == source, values], axis=1),
        "edge_index": np.stack([origin, target]),
        "y_node": node_labels(adjacency, source, values),
        "y_graph": graph_labels(adjacency)[None],
    }


# --- the mixture of random graphs (section 4 of the paper) ---------------------------------------


def random_adjacency(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, n] adjacency of a graph from the mixture, edges toggled, no isolated node.

    A graph with an isolated node is drawn again, of the same kind. Nodes are in random order.

    Args:
        n: nodes, at least 2.
        rng: the only source of randomness.

    Raises:
        ValueError: for fewer than two nodes.

    Example:
        >>> a = random_adjacency(15, np.random.default_rng(0))
        >>> a.shape, bool((a == a.T).all()), bool(a.any(1).all()), bool(a.diagonal().any())
        ((15, 15), True, True, False)
    """
    if n < 2:
        raise ValueError(f"A graph of the mixture needs at least two nodes, got n = {n}.")
    kind = rng.choice(list(MIXTURE), p=list(MIXTURE.values()))
    while True:
        graph = GENERATORS[kind](n, rng)
        adjacency = toggled(nx.to_numpy_array(graph) > 0, rng)
        if adjacency.any(1).all():
            order = rng.permutation(n)
            return adjacency[order][:, order]


def toggled(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some edges removed and about the same number added, so that hardly two graphs are equal.

    An edge stays if u < 0.9, a pair becomes one if u < 0.1 edges / pairs (for graphs with more
    edges than other pairs the other way round), where u is the mean of two uniform numbers. That
    is how the published generator draws; 98 % of the edges stay.
    """
    n = len(adjacency)
    edges = adjacency.sum() / 2
    others = n * (n - 1) / 2 - edges
    stay, added = STAY, (1 - STAY) * edges / max(others, 1)
    if edges > others:
        stay, added = STAY + (1 - STAY) * (edges - others) / edges, 1 - STAY
    u = rng.uniform(size=(n, n))
    u = (u + u.T) / 2
    new = np.where(adjacency, u < stay, u < added)
    np.fill_diagonal(new, False)
    return new


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _erdos_renyi(n: int, rng: np.random.Generator) -> nx.Graph:
    return nx.fast_gnp_random_graph(n, rng.uniform(), seed=_seed(rng))


def _barabasi_albert(n: int, rng: np.random.Generator) -> nx.Graph:
    return nx.barabasi_albert_graph(n, int(rng.integers(1, n)), seed=_seed(rng))


def _sides(n: int) -> tuple[int, int]:
    """The two factors of n that are closest to each other."""
    short = max(k for k in range(1, math.isqrt(n) + 1) if n % k == 0)
    return short, n // short


def _tree(n: int, rng: np.random.Generator) -> nx.Graph:
    while True:
        try:  # few draws at a time, because it makes all of them beforehand
            return nx.random_powerlaw_tree(n, seed=_seed(rng), tries=500)
        except nx.NetworkXError:
            continue


def _ladder(n: int, rng: np.random.Generator) -> nx.Graph:
    graph = nx.ladder_graph(n // 2)
    if n % 2:
        graph.add_edge(0, n - 1)
    return graph


def _caterpillar(n: int, rng: np.random.Generator) -> nx.Graph:
    spine = int(rng.integers(1, n))
    return _attached(spine, rng.integers(0, spine, n - spine))


def _lobster(n: int, rng: np.random.Generator) -> nx.Graph:
    spine = int(rng.integers(1, n))
    arms = int(rng.integers(spine + 1, n + 1))
    inner = rng.integers(0, spine, arms - spine)
    return _attached(spine, np.concatenate([inner, rng.integers(spine, arms, n - arms)]))


def _attached(spine: int, parents: np.ndarray) -> nx.Graph:
    """A path, to which further nodes are attached one by one."""
    graph = nx.path_graph(spine)
    graph.add_edges_from(enumerate(parents.tolist(), start=spine))
    return graph


MIXTURE = {
    "erdos_renyi": 0.2,
    "barabasi_albert": 0.2,
    "grid": 0.05,
    "caveman": 0.05,
    "tree": 0.15,
    "ladder": 0.05,
    "line": 0.05,
    "star": 0.05,
    "caterpillar": 0.1,
    "lobster": 0.1,
}
GENERATORS: dict[str, Callable[[int, np.random.Generator], nx.Graph]] = {
    "erdos_renyi": _erdos_renyi,
    "barabasi_albert": _barabasi_albert,
    "grid": lambda n, _: nx.grid_2d_graph(*_sides(n)),
    "caveman": lambda n, _: nx.caveman_graph(*_sides(n)),
    "tree": _tree,
    "ladder": _ladder,
    "line": lambda n, _: nx.path_graph(n),
    "star": lambda n, _: nx.star_graph(n - 1),
    "caterpillar": _caterpillar,
    "lobster": _lobster,
}


# --- the targets, with the conventions of the published generator --------------------------------


def node_labels(adjacency: np.ndarray, source: int, values: np.ndarray) -> np.ndarray:
    """[n, 3]: steps from the source, eccentricity, and the Laplacian D - A applied to `values`.

    Nodes without a path to the source are at distance 0, and do not count in eccentricities.

    Args:
        adjacency: [n, n] boolean, symmetric, without loops.
        source: a node.
        values: [n].

    Example:
        >>> path = np.eye(3, k=1, dtype=bool) | np.eye(3, k=-1, dtype=bool)
        >>> node_labels(path, 0, np.array([1.0, 0.0, 0.0])).T.tolist()
        [[0.0, 1.0, 2.0], [2.0, 1.0, 2.0], [1.0, -1.0, 0.0]]
    """
    steps = _distances(adjacency)
    laplacian = np.diag(adjacency.sum(0)) - adjacency
    return np.stack([steps[source], steps.max(0), laplacian @ values], axis=1)


def graph_labels(adjacency: np.ndarray) -> np.ndarray:
    """[3]: whether the graph is connected, its diameter, and its spectral radius.

    The diameter is the largest finite distance. The published generator tests connectedness by
    powers of two of the adjacency matrix, for which bipartite graphs are not connected: so here.

    Args:
        adjacency: [n, n] boolean, symmetric, without loops.

    Example:
        >>> triangle = ~np.eye(3, dtype=bool)
        >>> [round(float(x), 6) for x in graph_labels(triangle)]
        [1.0, 1.0, 2.0]
    """
    steps = _distances(adjacency)
    connected = (steps > 0).sum() == adjacency.size - len(adjacency)
    odd = steps[0] % 2
    bipartite = not (adjacency & (odd[:, None] == odd)).any()
    radius = np.abs(np.linalg.eigvalsh(adjacency.astype(float))).max()
    return np.array([connected and not bipartite, steps.max(), radius], dtype=float)


def _distances(adjacency: np.ndarray) -> np.ndarray:
    """[n, n] steps between nodes; 0 where there is no path."""
    # Floyd and Warshall's method, its choice for small graphs, fails on transposed arrays
    steps = shortest_path(adjacency.astype(float, order="C"), method="D", unweighted=True)
    return np.where(np.isinf(steps), 0, steps)
