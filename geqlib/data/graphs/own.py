"""Graphs of your own, of files, networkx or torch_geometric: classes, numbers, nodes or links."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
from torch.utils.data import DataLoader

from geqlib.data.column_scale import column_scale
from geqlib.data.download import find_file, find_files, find_folder
from geqlib.data.graphs.graph_files import read_source
from geqlib.data.graphs.link_splits import link_splits
from geqlib.data.graphs.motif_counts import with_motifs
from geqlib.data.graphs.other_graphs import OtherGraphs
from geqlib.data.graphs.own_arrays import KEPT, Columns, columns_of, graph_arrays
from geqlib.data.imported import is_import_path
from geqlib.data.packed import Arrays, Field, Fields, PackedGraphs
from geqlib.data.partition import Partition, checked_batch_size
from geqlib.data.targets import UNLABELLED, Kind, checked_units, encoded, widest
from geqlib.data.trained import NamedLoaders
from geqlib.data.unused import warn_of_unused
from geqlib.files.plain import plain
from geqlib.motifs.features import motif_features

Predicted = Literal["graphs", "nodes", "links"]
MASKS = {"train": "train_mask", "val": "val_mask", "test": "test_mask"}
SHARE = 0.1  # of validation and test graphs where none is named


class OwnGraphData(NamedLoaders):
    """Graphs of your own, in shares or folds, with what is to be learnt of them.

    Batches hold `x` [N, features], `edge_index` [2, E], `edge_attr` if there are `edges`, `batch`,
    `ptr`, and of torch_geometric's graphs `pos`, `z` and `edge_weight`, too. Without features `x`
    is the one-hot degree. What is learnt is

    - of "graphs": `y` [graphs] their class, or with kind="numbers" `y` [graphs, targets];
    - of "nodes": likewise `y` [N] or [N, targets]. Several graphs are divided as wholes; of one
      graph, the nodes are: each split is the whole graph with the labels of its own nodes. Where
      torch_geometric's graph has `train_mask`, `val_mask` and `test_mask`, these are its splits,
      and no shares or folds may be named beside them;
    - of "links": `edge_label_index` [2, pairs] and `edge_label` [pairs], 1 for links and 0 for as
      many random other pairs, by torch_geometric's `RandomLinkSplit`. Links of validation and
      testing are not among the `edge_index` of training; of the training links 30 % are asked for
      and taken out of `edge_index`.

    Unknown numbers are NaN, which `MaskedRegressionTask` leaves out. Unknown classes are -1:
    `NodeClassificationTask` leaves such nodes out, and `GraphClassificationTask` predicts such
    graphs but refuses to train or test on them.

    Args:
        source: a `.graphml`, `.json` or `.jsonl` (node-link), `.g6` or `.s6` file; a folder of
            these; a folder with a folder of these for each class; a dictionary of class ->
            file or folder; or the import path of a function or class, such as
            "my_project.data.rings", which returns a list of networkx graphs or a data set of
            torch_geometric. `geqlib` commands find modules of the folder they are called in.
        val, test: shares; or sources of their own; or, of an import path, the arguments that
            differ, such as {split: val}.
        predict: "graphs", "nodes" or "links".
        target: attribute of graphs or nodes to learn; of several numbers a list. `y` of
            torch_geometric.
        kind: "classes" or "numbers".
        units: of targets by name, for tables and reports; numbers stay as they are.
        labels: a text file of the targets, one a line, for graphs that have no attributes.
        nodes, edges: attributes of networkx graphs that are `x` and `edge_attr`, side by side:
            numbers, arrays of one length, or text, which becomes one-hot.
        features: counts of motifs beside these, of undirected graphs without self-loops: `nodes`
            (appended to `x`), `edges`, `pairs` and `graph`, as of
            `geqlib.motifs.features.MotifFeatures`, such as {nodes: [C3, C4], graph: cliques}.
        arguments: of the function or class.
        fold, num_folds: test one of several folds; `geqlib cv` runs through them.
        batch_size: graphs in a batch.
        data_seed, shuffle_seed: of the splits, and of the order of the training graphs.

    Attributes:
        classes: their names in ascending order, after `setup`.

    Raises:
        ValueError: one sentence: a file that is missing or cannot be read, attributes that are
            missing, not finite or of several kinds, parts that would be empty, motifs of graphs
            whose links are held back.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name, make in (("rings", nx.cycle_graph), ("trees", nx.path_graph)):
        ...         lines = [nx.to_graph6_bytes(make(n), header=False) for n in range(3, 13)]
        ...         _ = Path(folder, f"{name}.g6").write_bytes(b"".join(lines))
        ...     files = {name: f"{folder}/{name}.g6" for name in ("rings", "trees")}
        ...     data = OwnGraphData(files, batch_size=4)
        ...     data.setup()
        >>> data.classes, next(iter(data.train_dataloader())).y.shape
        (['rings', 'trees'], torch.Size([4]))
    """

    def __init__(
        self,
        source: str | Path | dict[str, Any],
        val: float | str | Path | dict[str, Any] = SHARE,
        test: float | str | Path | dict[str, Any] = SHARE,
        *,
        predict: Predicted = "graphs",
        target: str | list[str] = "y",
        kind: Kind = "classes",
        units: dict[str, str] | None = None,
        labels: str | Path | None = None,
        nodes: list[str] | None = None,
        edges: list[str] | None = None,
        features: dict[str, Any] | None = None,
        arguments: dict[str, Any] | None = None,
        fold: int | None = None,
        num_folds: int = 10,
        batch_size: int = 32,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if predict not in ("graphs", "nodes", "links"):
            raise ValueError(f'predict must be "graphs", "nodes" or "links", got {predict!r}.')
        if kind not in ("classes", "numbers"):
            raise ValueError(f'kind must be "classes" or "numbers", got {kind!r}.')
        if isinstance(target, list) and (kind == "classes" or not target):
            raise ValueError(
                f'target is {target}: several targets are numbers (kind="numbers"), of classes '
                "there is one."
            )
        if predict == "links" and fold is not None:
            raise ValueError("Links have no folds: leave out `fold`, and try several data_seed.")
        if predict == "links" and features is not None:
            raise ValueError(
                "Counts of motifs would show links that are held back: leave out `features`."
            )
        self.predict: Predicted = predict
        self.kind: Kind = kind
        self.targets = [target] if isinstance(target, str) else list(target)
        self.units = checked_units(units, self.targets)
        self.sources = {"train": plain(source)} | {
            name: plain(part)
            for name, part in (("val", val), ("test", test))
            if not isinstance(part, int | float)
        }
        if predict == "links" and len(self.sources) > 1:
            raise ValueError("Links are divided within each graph: give shares as val and test.")
        shares = {
            name: float(part)
            for name, part in (("val", val), ("test", test))
            if isinstance(part, int | float)
        }
        self.partition = Partition(**shares, fold=fold, num_folds=num_folds, seed=data_seed)
        self.labels = None if labels is None else str(labels)
        self.nodes, self.edges = list(nodes or []), list(edges or [])
        self.features = None if features is None else motif_features(features)
        self.arguments = dict(arguments or {})
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.own_graphs: list[Any] | None = None
        self.classes: list[Any] | None = None
        self.columns: Columns | None = None
        self.splits: dict[str, PackedGraphs] = {}

    @classmethod
    def from_graphs(cls, graphs: Sequence[Any], **options: Any) -> OwnGraphData:
        """The same for graphs that you have: a list of networkx graphs, or a PyG data set.

        Example:
            >>> club = nx.karate_club_graph()
            >>> data = OwnGraphData.from_graphs([club], predict="nodes", target="club")
            >>> data.setup()
            >>> data.classes, int((data.splits["val"].y >= 0).sum())
            (['Mr. Hi', 'Officer'], 3)
        """
        data = cls("graphs of Python", **options)
        data.own_graphs = [graphs[k] for k in range(len(graphs))]
        if not data.own_graphs:
            raise ValueError("There are no graphs: give at least one.")
        return data

    @property
    def num_folds(self) -> Any:
        """None for links, which are divided within each graph."""
        return None if self.predict == "links" else self.partition.num_folds

    def of_file(self, path: str | Path) -> OtherGraphs:
        """The graphs of another file, read in the same way; what is learnt of them is optional.

        Raises:
            ValueError: links, which are asked for within graphs.
        """
        if self.predict == "links":
            raise ValueError(
                "Links are held back from the graphs of the training, and not asked for in others: "
                "leave out the file."
            )
        return OtherGraphs(Path(path), self)

    def state_dict(self) -> dict[str, Any]:
        columns = {} if self.columns is None else {"columns": self.columns.state()}
        return super().state_dict() | columns

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if "columns" in state_dict and self.columns is None:
            self.columns = Columns(**state_dict["columns"])

    def check_trained(self) -> None:
        super().check_trained()
        before = self.trained.get("columns")
        if before is not None and self.columns not in (None, Columns(**before)):
            self.refuse("columns of features", self.columns, Columns(**before))

    def prepare_data(self) -> None:
        """Read or download what the source names, and count, which one process does for all."""
        if self.own_graphs is None or self.features is not None:
            _, graphs = self._graphs()
            if self.features is not None:
                self.packed(*graph_arrays(graphs, self.nodes, self.edges))

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        origin, graphs = self._graphs()
        arrays, fields = graph_arrays(graphs, self.nodes, self.edges)
        self.columns = columns_of(graphs, self.nodes, self.edges)
        if self.predict == "links":
            self.splits = link_splits(PackedGraphs(arrays, fields), self.partition)
            return
        y = self._targets(graphs)
        listed = {
            name: np.flatnonzero(np.array(origin) == name)
            for name in self.sources
            if name != "train"
        }
        per = "graph" if self.predict == "graphs" else "node"
        whole = self.packed(arrays | {"y": y}, fields | {"y": per})
        if self.predict == "nodes" and len(graphs) > 1:
            _warn_of_masks(graphs)
        if self.predict == "nodes" and len(graphs) == 1:
            self._divide_nodes(whole, y, graphs[0])
            return
        by_class = self.predict == "graphs" and self.kind == "classes"
        self.divide(whole, listed=listed, classes=y if by_class else None)

    def packed(self, arrays: Arrays, fields: Fields) -> PackedGraphs:
        """Graphs, with counts of motifs if these are asked for."""
        graphs = PackedGraphs(arrays, fields)
        return graphs if self.features is None else with_motifs(graphs, self.features)

    def train_dataloader(self) -> DataLoader:
        named = self.columns is None or self.columns.degrees is None
        fields = self.splits["train"].fields if "train" in self.splits else ()
        # x is the degree where nodes have no features, of which nobody asked for
        warn_of_unused(self, [k for k in KEPT if k in fields and (named or k != "x")])
        return super().train_dataloader()

    def target_scale(self) -> tuple[Any, Any]:
        """Mean and standard deviation of the training numbers; numbers if there is one target."""
        if self.kind != "numbers" or self.predict == "links":
            raise ValueError(
                'These targets are classes, which are not standardised: set kind="numbers", or '
                "take a task of classes."
            )
        return column_scale(self.splits["train"].y)

    def _graphs(self) -> tuple[list[str], list[Any]]:
        """The split that each graph is of by its source, and the graphs."""
        if self.own_graphs is not None:
            return ["train"] * len(self.own_graphs), self.own_graphs
        origin, graphs = [], []
        for name, source in self.sources.items():
            arguments, where = self.arguments, source
            if name != "train" and isinstance(source, Mapping) and self._is_code():
                arguments, where = self.arguments | dict(source), self.sources["train"]
            part = read_source(where, self.targets[0], arguments)
            origin += [name] * len(part)
            graphs += part
        return origin, graphs

    def _is_code(self) -> bool:
        source = self.sources["train"]
        here = isinstance(source, str) and (find_folder(source) or find_file(source))
        return isinstance(source, str) and not here and is_import_path(source)

    def _targets(self, graphs: Sequence[Any]) -> np.ndarray:
        what = "graph" if self.predict == "graphs" else "node"
        values = self.values(graphs) if self.labels is None else self._listed_labels(graphs)
        if all(value is None or value == [None] * len(self.targets) for value in values):
            raise ValueError(
                f"No {what} has the attribute {' or '.join(map(repr, self.targets))}: name the "
                "right one in `target`, or a file with one label a line in `labels`."
            )
        names = self.targets if len(self.targets) > 1 else self._numbered(values)
        y, self.classes = encoded(values, self.kind, f"The target of {what} {{}}", names)
        return y

    def values(self, graphs: Sequence[Any]) -> list[Any]:
        """What the attributes of graphs, or of all of their nodes, say of the target."""
        if self.predict == "graphs":
            return [self._value(_attributes(graph)) for graph in graphs]
        return [value for graph in graphs for value in self._node_values(graph)]

    def _numbered(self, values: Sequence[Any]) -> list[str] | None:
        """Names of the columns of `y` where one attribute holds several numbers."""
        width = widest(values)
        if self.kind == "classes" or width == 1:
            return None
        name = self.targets[0]
        self.targets = [f"{name}{k}" for k in range(width)]
        self.units = dict.fromkeys(self.targets, self.units[name]) if self.units else {}
        return self.targets

    def _value(self, attributes: Mapping[str, Any]) -> Any:
        if len(self.targets) == 1:
            return attributes.get(self.targets[0])
        return [attributes.get(name) for name in self.targets]

    def _node_values(self, graph: Any) -> list[Any]:
        if isinstance(graph, nx.Graph):
            return [self._value(attributes) for _, attributes in graph.nodes(data=True)]
        if len(self.targets) > 1 or self.targets[0] not in graph:
            return [None] * graph.num_nodes
        values = graph[self.targets[0]]
        if len(values) != graph.num_nodes:
            raise ValueError(
                f"{self.targets[0]} has {len(values)} entries, but its graph {graph.num_nodes} "
                'nodes: set predict="graphs", or give each node one.'
            )
        return values.tolist()

    def _listed_labels(self, graphs: Sequence[Any]) -> list[str]:
        if self.predict != "graphs":
            raise ValueError("`labels` lists targets of graphs: give nodes an attribute.")
        (path,) = find_files(str(self.labels))
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        lines = [line.strip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
        if len(lines) != len(graphs):
            raise ValueError(
                f"{path} has {len(lines)} lines, but there are {len(graphs)} graphs: give one "
                "label a line, without a header."
            )
        return lines

    def _divide_nodes(self, whole: PackedGraphs, y: np.ndarray, graph: Any) -> None:
        """Splits of one graph: all of it, with the labels of some of its nodes."""
        labelled = np.flatnonzero(y != UNLABELLED if y.ndim == 1 else ~np.isnan(y).all(1))
        masks = {name: mask for name, mask in MASKS.items() if mask in _attributes(graph)}
        if masks and self.partition.fold is None:
            _refuse_shares(masks.values(), self.partition)
            parts = {name: _masked(graph, mask) for name, mask in masks.items()}
        else:
            classes = y[labelled] if y.ndim == 1 else None
            drawn = self.partition.parts(len(labelled), classes)
            parts = {name: labelled[part] for name, part in drawn.items()}
        self.numbers = parts
        for name, part in parts.items():
            own = np.full_like(y, UNLABELLED if y.ndim == 1 else np.nan)
            own[part] = y[part]
            self.splits[name] = _with(whole, {"y": own}, {})


def _attributes(graph: Any) -> Mapping[str, Any]:
    return graph.graph if isinstance(graph, nx.Graph) else graph.to_dict()


def _refuse_shares(masks: Iterable[str], share: Partition) -> None:
    """Refuse shares that are not those of no choice, where masks divide the nodes."""
    if (share.val, share.test) != (SHARE, SHARE):
        raise ValueError(
            f"The graph has {', '.join(masks)}, which are its splits, and the shares are val="
            f"{share.val:g} and test={share.test:g}: leave these out, or take the masks out of the "
            "graph."
        )


def _warn_of_masks(graphs: Sequence[Any]) -> None:
    masks = sorted({mask for graph in graphs for mask in MASKS.values() if mask in graph})
    if masks and not isinstance(graphs[0], nx.Graph):
        warnings.warn(
            f"{', '.join(masks)} of {len(graphs)} graphs are not used: several graphs are divided "
            "as wholes, by `val` and `test`.",
            stacklevel=2,
        )


def _masked(graph: Any, mask: str) -> np.ndarray:
    """Nodes of a split; of several splits side by side, the first."""
    values = graph[mask]
    if values.dim() > 1 and values.size(1) > 1:
        warnings.warn(
            f"{mask} has {values.size(1)} columns, one for each of several ways to divide the "
            "nodes: the first is taken. For another give the graph its column alone.",
            stacklevel=2,
        )
    return (values if values.dim() == 1 else values[:, 0]).nonzero()[:, 0].numpy()


def _with(
    whole: PackedGraphs, arrays: Mapping[str, Any], fields: Mapping[str, Field]
) -> PackedGraphs:
    counts = {f"{kind}s": count for kind, count in whole.counts.items() if kind != "graph"}
    return PackedGraphs({**counts, **whole.arrays, **arrays}, {**whole.fields, **fields})
