"""Sets of graphs that models learn to generate."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import networkx as nx
import numpy as np
import torch

from geqlib.data.download import needed_file
from geqlib.data.graphs.networkx_graphs import directed_edges
from geqlib.data.graphs.random_graphs import block_model_graph, planar_graph, small_grid_graph
from geqlib.data.loaders import SplitLoaders
from geqlib.data.molecules.bonded import SPECIES, qm9_graphs
from geqlib.data.packed import PackedGraphs
from geqlib.files.atomic import reading

Name = Literal[
    "community_small", "ego_small", "grid", "community", "planar", "sbm", "small_grids", "qm9"
]
FILES = {
    "community_small": "community_small.g6",
    "ego_small": "ego_small.g6",
    "grid": "grid.g6",
    "community": "community_12_21_100.g6",
}
# whose first fifth is tested: those of GDSS; the others are split as by SPECTRE
GDSS = ("community_small", "ego_small", "grid")
GENERATORS: dict[str, Callable[[np.random.Generator], nx.Graph]] = {
    "planar": planar_graph,
    "sbm": block_model_graph,
    "small_grids": small_grid_graph,
}
TEST = 0.2
OWN = "networkx"  # name of graphs that no file holds
# of the molecules of QM9: those for training and for testing, as EDM splits them
QM9_TRAIN, QM9_TEST = 100_000 / 130_831, 0.1


class GraphGeneration(SplitLoaders):
    """Graphs without labels, to be generated.

    "community_small", "ego_small" and "grid" are files of Jo et al. (GDSS, ICML 2022), "community"
    of Martinkus et al. (SPECTRE, ICML 2022), one graph a line in graph6, below the folder
    graph_generation of GEQLIB_DATA. "planar" and "sbm" are drawn by the rules of SPECTRE: not the
    published graphs, but others of the same distribution. "small_grids" have 3 to 8 nodes a side.

    Splits are the published ones: of GDSS's sets the first fifth, in the order of the file, is the
    test set; of SPECTRE's, a permutation by torch's generator of seed 0 has 64 % for training, 16 %
    for validation and 20 % for testing. GDSS has no validation graphs: here they are a share of the
    training graphs, drawn with `data_seed`, which published models are trained on too.

    "qm9" are the molecules of `QM9Generation`, from the same file and in the split of EDM: 100 000
    for training, 17 748 for validation, 13 083 for testing. Hydrogens are nodes, and bonds go by
    the distances of atoms, by the rules of EDM.

    Batches hold `x` [N] zeros (one kind of nodes), `edge_index` [2, E] both directions, `index` [G]
    the number of the graph in the set, `batch`, `ptr`; of "qm9", `x` is the place of the element in
    `species`, `edge_attr` [E] the order of the bond, and `index` the number in GDB-9.

    Args:
        name: of the set.
        batch_size, eval_batch_size: graphs in a batch of training, and outside of it.
        count: graphs of sets that are drawn; those of a file are all taken.
        validation: share of the training graphs where no validation graphs are published.
        data_seed: of graphs that are drawn, and of these validation graphs.
        shuffle_seed: of the order in training.

    Raises:
        ValueError: an unknown set, a missing or damaged file, sizes or a share out of range.

    Attributes:
        species: elements that kinds of nodes stand for, where graphs are molecules; else none.

    Example:
        >>> data = GraphGeneration("planar", count=10)
        >>> data.setup()
        >>> {name: len(part) for name, part in data.splits.items()}
        {'train': 6, 'val': 2, 'test': 2}
    """

    name: str
    drop_last = False

    def __init__(
        self,
        name: str = "community_small",
        batch_size: int = 16,
        *,
        eval_batch_size: int | None = None,
        count: int = 200,
        validation: float = 0.2,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if name not in (*get_args(Name), OWN):
            raise ValueError(f"name is {name!r}: choose one of {', '.join(get_args(Name))}.")
        if batch_size < 1 or count < 5 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ValueError(
                f"batch_size={batch_size}, eval_batch_size={eval_batch_size}, count={count}: take "
                "at least 1 graph in a batch, and 5 in all."
            )
        if not 0 < validation < 1:
            raise ValueError(f"validation is a share in (0, 1), got {validation}.")
        self.name, self.batch_size, self.eval_batch_size = name, batch_size, eval_batch_size
        self.count, self.validation = count, validation
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.own_graphs: list[nx.Graph] | None = None
        self.species = SPECIES if name == "qm9" else ()
        self.splits: dict[str, PackedGraphs] = {}

    @classmethod
    def from_networkx(
        cls, graphs: Sequence[nx.Graph], batch_size: int = 16, *, data_seed: int = 0
    ) -> GraphGeneration:
        """The same for graphs of your own: simple and undirected, split at random as SPECTRE does.

        Attributes of nodes and edges are not read, which a warning says.

        Raises:
            ValueError: fewer than five graphs, directed ones, loops, or a graph without nodes.

        Example:
            >>> data = GraphGeneration.from_networkx([nx.cycle_graph(n) for n in range(3, 13)])
            >>> data.setup()
            >>> data.limits(hops=1)
            (12, 2)
        """
        for k, graph in enumerate(graphs):
            simple = isinstance(graph, nx.Graph) and not graph.is_directed()
            if not simple or graph.is_multigraph() or nx.number_of_selfloops(graph):
                raise ValueError(
                    f"graphs[{k}] is not a simple undirected graph: make it a networkx.Graph "
                    "without loops."
                )
        if names := _attributes(graphs):
            warnings.warn(
                f"The attributes {', '.join(names)} of nodes or edges are not read: these graphs "
                "have one kind of both.",
                stacklevel=2,
            )
        data = cls(OWN, batch_size, count=len(graphs), data_seed=data_seed)
        data.own_graphs = list(graphs)
        return data

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        whole = self._whole()
        split = {"qm9": _as_edm} | dict.fromkeys(GDSS, self._first_fifth)
        parts = split.get(self.name, self._permuted)(len(whole))
        self.splits = {name: whole.subset(part) for name, part in parts.items()}

    def limits(self, hops: int) -> tuple[int, int]:
        """The largest size and degree of a block of any graph: what `PARD` needs to know."""
        from geqlib.pard.order import partial_order

        largest, highest = 1, 0
        for part in self.splits.values():
            batch: Any = part.__getitems__(range(len(part)))
            order = partial_order(
                batch.edge_index, int(batch.num_nodes), batch.batch, len(part), hops=hops
            )
            largest = max(largest, int(order.size.max()))
            highest = max(highest, int(order.degree.max()))
        return largest, highest

    def _whole(self) -> PackedGraphs:
        if self.name == "qm9":
            return qm9_graphs()
        graphs = self._graphs()
        empty = next((k for k, graph in enumerate(graphs) if not len(graph)), None)
        if empty is not None:
            raise ValueError(f"Graph {empty} of {self.name} has no nodes: leave it out.")
        return packed(graphs)

    def _graphs(self) -> list[nx.Graph]:
        if self.own_graphs is not None:
            return self.own_graphs
        if self.name in GENERATORS:
            draw = GENERATORS[self.name]
            return [draw(np.random.default_rng([self.data_seed, k])) for k in range(self.count)]
        if self.name == OWN:
            raise ValueError(
                "These graphs came from Python, and no file holds them: make the data again by "
                "GraphGeneration.from_networkx, or name one of the sets."
            )
        path = needed_file(f"graph_generation/{FILES[self.name]}", "its graphs in graph6")
        with reading(path, "does not hold graphs in the graph6 format"):
            return [nx.from_graph6_bytes(line) for line in path.read_bytes().split()]

    def _first_fifth(self, count: int) -> dict[str, np.ndarray]:
        test = int(TEST * count)
        rest = test + np.random.default_rng(self.data_seed).permutation(count - test)
        val = max(1, round(self.validation * len(rest)))
        return {
            "train": np.sort(rest[val:]),
            "val": np.sort(rest[:val]),
            "test": np.arange(test),
        }

    def _permuted(self, count: int) -> dict[str, np.ndarray]:
        seed = 0 if self.own_graphs is None else self.data_seed
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
        test = round(TEST * count)
        train = round((1 - TEST) * (count - test))
        parts = np.split(order, [train, count - test])
        return dict(zip(("train", "val", "test"), map(np.sort, parts), strict=True))


def _attributes(graphs: Sequence[nx.Graph]) -> list[str]:
    """Names of attributes of nodes and edges."""
    records = [record for graph in graphs for _, record in graph.nodes(data=True)]
    records += [record for graph in graphs for *_, record in graph.edges(data=True)]
    return sorted({str(name) for record in records for name in record})


def _as_edm(count: int) -> dict[str, np.ndarray]:
    """The split of Hoogeboom et al. (ICML 2022), in shares of a file with fewer molecules."""
    order = np.random.RandomState(0).permutation(count)
    train, test = round(QM9_TRAIN * count), int(QM9_TEST * count)
    parts = np.split(order, [train, count - test])
    return dict(zip(("train", "val", "test"), parts, strict=True))


def packed(graphs: Sequence[nx.Graph]) -> PackedGraphs:
    """Graphs with one kind of nodes."""
    edges = [directed_edges(graph)[0] for graph in graphs]
    nodes = np.array([len(graph) for graph in graphs], dtype=np.int64)
    arrays = {
        "nodes": nodes,
        "edges": np.array([pairs.shape[1] for pairs in edges], dtype=np.int64),
        "edge_index": np.concatenate(edges, 1),
        "x": np.zeros(nodes.sum(), dtype=np.int64),
        "index": np.arange(len(nodes)),
    }
    return PackedGraphs(arrays, {"x": "node", "index": "graph"})
