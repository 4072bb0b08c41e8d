"""The PNA multitask benchmark: algorithms on random graphs, tested on larger ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from geqlib.data.graphs.graph_labels import graph_labels, node_labels
from geqlib.data.graphs.packed import GraphArrays, graph_arrays, joined
from geqlib.data.graphs.random_graphs import random_adjacency
from geqlib.data.loaders import SplitLoaders
from geqlib.files.cache import cached_arrays

STARTS = (15, 20, 25, 30, 35, 40, 45, 60, 75, 95)
SPAN = 5
KINDS = {"x": "node", "y_node": "node", "y_graph": "graph"}


class MultitaskData(SplitLoaders):
    """Six questions about random graphs: three about each node, three about the whole.

    The protocol of Corso et al. (NeurIPS 2020, arXiv 2004.05718) as published in code: 512 training
    graphs of each size from 15 to 24, and of each of five sizes 128 validation graphs (15 to 19)
    and 256 test graphs: 15 to 19 again, then larger ones, five sizes from each of `starts` on.

    Batches hold `x` [N, 2] (1 at the source, a random number from [0, 1]), `edge_index` [2, E]
    sorted by target, `batch`, `ptr`, `y_node` [N, 3] (distance from the source, eccentricity,
    Laplacian times the random numbers), `y_graph` [graphs, 3] (connected, diameter, spectral
    radius), each over its largest value in training, and `sizes`, such as "15-19". See
    `geqlib.data.graphs.graph_labels` for what holds where a graph is not connected.

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
        self.splits: dict[str, GraphArrays] = {}

    def prepare_data(self) -> None:
        for split in self.plan:
            self._arrays(split)

    def setup(self, stage: str | None = None) -> None:
        arrays = {split: self._arrays(split) for split in self.plan}
        largest = {key: arrays["train"][key].max(0) for key in ("y_node", "y_graph")}
        for split, found in arrays.items():
            scaled = {key: found[key] / np.where(top > 0, top, 1) for key, top in largest.items()}
            self.splits[split] = graph_arrays(found | scaled, KINDS, sizes=split)

    def degrees(self) -> list[int]:
        """How many training nodes have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()

    def test_dataloader(self) -> list[DataLoader]:
        return [self._in_order(name) for name in self.tests]

    def predict_dataloader(self) -> list[DataLoader]:
        return self.test_dataloader()

    def _arrays(self, split: str) -> dict[str, np.ndarray]:
        low, high, count = self.plan[split]
        # a stream for each split, which the others do not move
        stream = {"train": 0, "val": 1}.get(split, 2)
        parameters = {"sizes": [low, high], "count": count, "seed": [self.data_seed, stream, low]}
        return cached_arrays(
            "multitask", parameters, lambda: _generate(split, parameters), self.cache
        )


def _generate(split: str, parameters: dict) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(parameters["seed"])
    sizes = [n for n in range(*parameters["sizes"]) for _ in range(parameters["count"])]
    console = Console(stderr=True)
    steps = track(sizes, f"graphs {split}", console=console, disable=not console.is_terminal)
    return joined([random_graph(n, rng) for n in steps], KINDS)


def random_graph(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
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
