"""Sets of graphs that models learn to generate."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import networkx as nx
import numpy as np
import torch

from geqlib.data.download import needed_file
from geqlib.data.graphs.graph_files import read_source
from geqlib.data.graphs.networkx_graphs import Records, directed_edges
from geqlib.data.graphs.random_graphs import block_model_graph, planar_graph, small_grid_graph
from geqlib.data.loaders import SplitLoaders
from geqlib.data.molecules.bonded import SPECIES, qm9_graphs
from geqlib.data.packed import PackedGraphs
from geqlib.data.targets import encoded
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
OWN = "networkx"  # name of graphs that are none of the sets
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

    Graphs of your own are named by `source`, or given to `from_networkx`: simple and undirected,
    64 % for training, 16 % for validation, 20 % for testing, at random by `data_seed`.

    Args:
        name: of the set.
        batch_size, eval_batch_size: graphs in a batch of training, and outside of it.
        source: of graphs of your own, in place of a set: a `.graphml`, `.json` or `.jsonl`
            (node-link), `.g6` or `.s6` file, a folder of these, or the import path of a function
            that returns a list of networkx graphs.
        node_kind, edge_kind: attribute of own graphs that is the kind of a node, or of an edge:
            whole numbers or text, of which kinds are numbered in ascending order, those of nodes
            from 0, those of edges from 1. One kind of all by default.
        count: graphs of sets that are drawn; those of a file are all taken.
        validation: share of the training graphs where no validation graphs are published.
        data_seed: of graphs that are drawn, of these validation graphs, and of the splits of own
            graphs.
        shuffle_seed: of the order in training.

    Raises:
        ValueError: an unknown set, a missing or damaged file, sizes or a share out of range; of own
            graphs, fewer than five, directed ones, loops, graphs without nodes, or nodes or edges
            without a kind.

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
        source: str | Path | None = None,
        node_kind: str | None = None,
        edge_kind: str | None = None,
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
        if source is None and name != OWN and (node_kind is not None or edge_kind is not None):
            raise ValueError(
                f"node_kind and edge_kind are of graphs of your own, and {name} has kinds of its "
                "own: leave them out, or name a source."
            )
        self.name = name if source is None else OWN
        self.source = None if source is None else str(source)
        self.node_kind, self.edge_kind = node_kind, edge_kind
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.count, self.validation = count, validation
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.own_graphs: list[nx.Graph] | None = None
        self.species = SPECIES if self.name == "qm9" else ()
        self.splits: dict[str, PackedGraphs] = {}

    @classmethod
    def from_networkx(
        cls, graphs: Sequence[nx.Graph], batch_size: int = 16, **options: Any
    ) -> GraphGeneration:
        """The same for graphs that you have in Python; `options` as of the class.

        Attributes of nodes and edges that are not named as kinds are not read, which a warning
        says.

        Raises:
            ValueError: see the class.

        Example:
            >>> data = GraphGeneration.from_networkx([nx.cycle_graph(n) for n in range(3, 13)])
            >>> data.setup()
            >>> data.limits(hops=1)
            (12, 2)
        """
        data = cls(OWN, batch_size, **options)
        data.own_graphs = list(graphs)
        data._check(data.own_graphs)
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
            raise ValueError(
                f"Graph {empty} of {self.source or self.name} has no nodes: leave it out."
            )
        return packed(graphs, self.node_kind, self.edge_kind)

    def _graphs(self) -> list[nx.Graph]:
        if self.own_graphs is not None:
            return self.own_graphs
        if self.source is not None:
            graphs = read_source(self.source, "class", {})
            self._check(graphs)
            return graphs
        if self.name in GENERATORS:
            draw = GENERATORS[self.name]
            return [draw(np.random.default_rng([self.data_seed, k])) for k in range(self.count)]
        if self.name == OWN:
            raise ValueError(
                "These graphs came from Python, and no file holds them: make the data again by "
                "GraphGeneration.from_networkx, or name a file of them as source."
            )
        path = needed_file(f"graph_generation/{FILES[self.name]}", "its graphs in graph6")
        with reading(path, "does not hold graphs in the graph6 format"):
            return [nx.from_graph6_bytes(line) for line in path.read_bytes().split()]

    def _check(self, graphs: Sequence[Any]) -> None:
        """Raise a ValueError if own graphs are none that can be learnt."""
        of = "graphs" if self.source is None else f"graphs of {self.source}"
        if len(graphs) < 5:
            raise ValueError(
                f"There are {len(graphs)} {of}: at least 5 are needed, for training, validation "
                "and testing."
            )
        for k, graph in enumerate(graphs):
            simple = isinstance(graph, nx.Graph) and not graph.is_directed()
            if not simple or graph.is_multigraph() or nx.number_of_selfloops(graph):
                raise ValueError(
                    f"Number {k} of the {of}, counted from 0, is no simple undirected graph: make "
                    "it a networkx.Graph without loops."
                )
        if names := sorted(_attributes(graphs) - {self.node_kind, self.edge_kind}):
            warnings.warn(
                f"The attributes {', '.join(names)} of nodes or edges are not read: name one of "
                "each that says its kind as node_kind and edge_kind, if kinds are to be generated.",
                stacklevel=3,
            )

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
        seed = self.data_seed if self.name == OWN else 0
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
        test = round(TEST * count)
        train = round((1 - TEST) * (count - test))
        parts = np.split(order, [train, count - test])
        return dict(zip(("train", "val", "test"), map(np.sort, parts), strict=True))


def _attributes(graphs: Sequence[nx.Graph]) -> set[str]:
    """Names of attributes of nodes and edges."""
    records = [record for graph in graphs for _, record in graph.nodes(data=True)]
    records += [record for graph in graphs for *_, record in graph.edges(data=True)]
    return {str(name) for record in records for name in record}


def _as_edm(count: int) -> dict[str, np.ndarray]:
    """The split of Hoogeboom et al. (ICML 2022), in shares of a file with fewer molecules."""
    order = np.random.RandomState(0).permutation(count)
    train, test = round(QM9_TRAIN * count), int(QM9_TEST * count)
    parts = np.split(order, [train, count - test])
    return dict(zip(("train", "val", "test"), parts, strict=True))


def packed(
    graphs: Sequence[nx.Graph], node_kind: str | None = None, edge_kind: str | None = None
) -> PackedGraphs:
    """Graphs with one kind of nodes and edges, or with those that attributes name."""
    edges = [directed_edges(graph) for graph in graphs]
    nodes = np.array([len(graph) for graph in graphs], dtype=np.int64)
    arrays = {
        "nodes": nodes,
        "edges": np.array([pairs.shape[1] for pairs, _ in edges], dtype=np.int64),
        "edge_index": np.concatenate([pairs for pairs, _ in edges], 1),
        "x": np.zeros(nodes.sum(), dtype=np.int64),
        "index": np.arange(len(nodes)),
    }
    fields = {"x": "node", "index": "graph"}
    if node_kind is not None:
        records = [[record for _, record in graph.nodes(data=True)] for graph in graphs]
        arrays["x"] = _kinds(records, node_kind, "node")
    if edge_kind is not None:
        arrays["edge_attr"] = 1 + _kinds([records for _, records in edges], edge_kind, "edge")
        fields["edge_attr"] = "edge"
    return PackedGraphs(arrays, fields)


def _kinds(records: Sequence[Records], name: str, what: str) -> np.ndarray:
    """The number of each attribute among all that occur, in ascending order."""
    for k, part in enumerate(records):
        if any(record.get(name) is None for record in part):
            raise ValueError(f"Graph {k} has {what}s without {name!r}: give all of them one.")
    values = [record[name] for part in records for record in part]
    kinds, _ = encoded(values, "classes", f"{name} of {what} {{}}") if values else (values, None)
    return np.asarray(kinds, dtype=np.int64)
