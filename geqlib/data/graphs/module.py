"""Graph classification: TU sets, or graphs of your own, in folds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
from torch.utils.data import Dataset

from geqlib.data.graphs.folds import check_folds, read_folds, split_validation, stratified_folds
from geqlib.data.graphs.motif_counts import with_motifs
from geqlib.data.graphs.networkx_graphs import networkx_arrays
from geqlib.data.graphs.planned import with_plans
from geqlib.data.graphs.tu import tu_arrays
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.motifs.features import motif_features
from geqlib.spen.ego_nets import Neighbourhood, Oversize

FIELDS = {"x": "node", "edge_attr": "edge", "y": "graph"}


class GraphData(SplitLoaders):
    """One fold of a graph classification set: training, validation and test graphs.

    Batches hold `x` [N, features] one-hot labels of nodes (and their attributes, on request), or,
    in sets without labels, one-hot degrees; `edge_index` [2, E], `edge_attr` [E, kinds] on request,
    `y` [graphs] classes, `batch`, `ptr`, and on request counts of motifs and `plan`.

    While a model is trained, two sets are measured: validation graphs, drawn from the training part
    of the fold, and the test fold, for tables that choose the epoch by the mean over all test folds
    (`geqlib cv` reports both ways). With `validation` 0 the model trains on the whole training
    part, and there is the test fold alone.

    Args:
        name: of a TU set, such as "MUTAG", "PTC", "PROTEINS", "NCI1", "IMDB-BINARY".
        batch_size: graphs in a batch.
        fold: from 0.
        folds: "files" are the ten usual index files, "stratified" ones drawn by scikit-learn.
        num_folds: of stratified folds.
        validation: share of the training part.
        attributes: whether `x` has the attributes of nodes beside their labels.
        edge_labels: whether there is `edge_attr`.
        hops, symmetric, shared, max_size, oversize: which ego nets are `plan` (see
            `geqlib.graph.ego_plan`), searched once; with hops None there is none, and a model that
            needs one computes it for every batch.
        features: counts of motifs beside these, exact and computed once: `nodes` (appended to `x`),
            `edges` (appended to `edge_attr`), `pairs` (`pair_index` and `pair_attr`) and `graph`
            (`motifs`), as of `geqlib.motifs.features.MotifFeatures`, such as
            {"nodes": ["C3", "C4"], "pairs": "orbits", "graph": "cliques"}.
        degree: of the polynomials of `PPGNpp`, which are then its `plan`, computed once; None
            if its plan is computed for every batch.
        data_seed: of stratified folds, and of the validation graphs.
        shuffle_seed: of the order of the training graphs.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: files that are missing or no TU set, folds that overlap or name graphs that do
            not exist, options out of range. Graphs that no fold tests are a warning.

    Example:
        >>> import networkx as nx
        >>> graphs = [nx.cycle_graph(3), nx.path_graph(3)] * 20
        >>> data = GraphData.from_networkx(graphs, [0, 1] * 20)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).num_graphs
        32
    """

    name: str
    drop_last = False

    def __init__(
        self,
        name: str,
        batch_size: int = 32,
        *,
        fold: int = 0,
        folds: Literal["files", "stratified"] = "files",
        num_folds: int = 10,
        validation: float = 0.1,
        attributes: bool = False,
        edge_labels: bool = False,
        hops: int | None = None,
        symmetric: bool = False,
        shared: bool = True,
        max_size: int | None = None,
        oversize: Oversize = "raise",
        features: dict[str, Any] | None = None,
        degree: int | None = None,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if folds not in ("files", "stratified"):
            raise ValueError(f'folds must be "files" or "stratified", got {folds!r}.')
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        if not 0 <= validation < 1:
            raise ValueError(f"validation is a share in [0, 1), got {validation}.")
        self.name, self.batch_size, self.fold, self.folds = name, batch_size, fold, folds
        self.num_folds = 10 if folds == "files" else num_folds
        if not 0 <= fold < self.num_folds:
            raise ValueError(f"fold is {fold}: choose one of 0 to {self.num_folds - 1}.")
        self.validation = validation
        self.neighbourhood = None
        if hops is not None:
            self.neighbourhood = Neighbourhood(hops, max_size=max_size, oversize=oversize)
        self.options = {"symmetric": symmetric, "shared": shared}
        self.degree = degree
        self.features = None if features is None else motif_features(features)
        self.attributes, self.edge_labels = attributes, edge_labels
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.own_graphs: Arrays | None = None
        self.classes: list[Any] | None = None
        self.splits: dict[str, Any] = {}

    @classmethod
    def from_networkx(
        cls,
        graphs: Sequence[nx.Graph],
        classes: Sequence[Any] | str,
        *,
        nodes: Sequence[str] = (),
        edges: Sequence[str] = (),
        **options: Any,
    ) -> GraphData:
        """The same for graphs of your own, in stratified folds.

        Args:
            graphs: directed or not.
            classes: of each graph, text or numbers, or the name of a graph attribute that holds it.
                `y` counts them from 0 in ascending order; `classes` has their names.
            nodes, edges: names of attributes that are `x` and `edge_attr`, side by side: numbers,
                arrays of one length, or text, which becomes one-hot. Without names `x` is the
                one-hot degree.
            options: see `GraphData`.

        Raises:
            ValueError: no graphs, attributes that are missing, not finite or of different lengths,
                and classes that are missing or of several kinds.

        Example:
            >>> rings = [nx.cycle_graph(n) for n in range(3, 13)]
            >>> trees = [nx.path_graph(n) for n in range(3, 13)]
            >>> classes = ["ring"] * 10 + ["tree"] * 10
            >>> data = GraphData.from_networkx(rings + trees, classes, num_folds=5)
            >>> data.setup()
            >>> {name: len(part) for name, part in data.splits.items()}
            {'train': 14, 'val': 2, 'test': 4}
            >>> data.classes
            ['ring', 'tree']
        """
        arrays, names = networkx_arrays(graphs, classes, nodes, edges)
        defaults: dict[str, Any] = {"folds": "stratified", "edge_labels": bool(edges)}
        data = cls("networkx", **(defaults | options))
        data.own_graphs, data.classes = arrays, names
        return data

    def prepare_data(self) -> None:
        """Download and read the set and its folds, which one process does for all."""
        arrays = self._arrays()
        if self.features is not None:
            self._graphs(arrays)
        if self.folds == "files":
            with warnings.catch_warnings():  # which `setup` gives
                warnings.filterwarnings("ignore", message=".* graphs are in no test fold")
                read_folds(self.name, arrays)

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        graphs = self._graphs(arrays)
        y, seed = arrays["y"], self.data_seed
        if self.folds == "files":
            folds = read_folds(self.name, arrays)
        else:
            folds = stratified_folds(y, self.num_folds, seed)
            check_folds(folds, len(y))
        train, test = folds[self.fold]
        parts = {"train": train, "test": test}
        if self.validation:
            train, val = split_validation(train, y, self.validation, seed + self.fold)
            parts = {"train": train, "val": val, "test": test}
        self.numbers = parts
        self.splits = {k: self._planned(graphs.subset(part)) for k, part in parts.items()}

    def val_dataloader(self) -> Any:
        """Validation graphs and test fold, or the test fold alone."""
        parts = [self._in_order(name) for name in ("val", "test") if name in self.splits]
        return parts if len(parts) > 1 else parts[0]

    def degrees(self) -> list[int]:
        """How many training nodes have 0, 1, 2, ... neighbours, for PNA's scalers."""
        train = self.splits["train"]
        return (train if isinstance(train, PackedGraphs) else train.graphs).degrees()

    def _graphs(self, arrays: Arrays) -> PackedGraphs:
        graphs = _dataset(arrays, self.attributes, self.edge_labels)
        return graphs if self.features is None else with_motifs(graphs, self.features, self.cache)

    def _planned(self, graphs: PackedGraphs) -> Dataset:
        return with_plans(graphs, self.neighbourhood, self.degree, **self.options)

    def _arrays(self) -> Arrays:
        return tu_arrays(self.name, self.cache) if self.own_graphs is None else self.own_graphs


def _dataset(arrays: Arrays, attributes: bool, edge_labels: bool) -> PackedGraphs:
    parts = [arrays[k] for k in ("attribute", "label") if k in arrays]
    parts = parts if attributes or "label" not in arrays else parts[-1:]
    x = np.concatenate(parts, 1) if parts else _degrees(arrays)
    arrays = arrays | {"x": x.astype(np.float32)}
    names = [k for k in ("edge_attribute", "edge_label") if k in arrays] if edge_labels else []
    if edge_labels and not names:
        raise ValueError("edge_labels is set, but the edges of this set have no labels: unset it.")
    if names:
        arrays["edge_attr"] = np.concatenate([arrays[k] for k in names], 1).astype(np.float32)
    return PackedGraphs(arrays, {name: per for name, per in FIELDS.items() if name in arrays})


def _degrees(arrays: Arrays) -> np.ndarray:
    """[N, different degrees] one-hot."""
    start = np.repeat(arrays["nodes"].cumsum() - arrays["nodes"], arrays["edges"])
    degree = np.bincount(arrays["edge_index"][0] + start, minlength=arrays["nodes"].sum())
    kinds, column = np.unique(degree, return_inverse=True)
    return np.eye(len(kinds), dtype=np.float32)[column]
