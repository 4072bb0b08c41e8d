"""Counts as features of any model: transforms of torch_geometric."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from geqlib.motifs.basis import Kind
from geqlib.motifs.bounds import ADVICE, MOST_STEPS
from geqlib.motifs.counts import common_pairs, count_motifs
from geqlib.motifs.graphs import Graphs, simple_graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.orbits import ORBIT_PAIRS, orbit_adjacencies
from geqlib.motifs.patterns import Pattern, as_pattern, rootings
from geqlib.motifs.tables import row_keys

Roots = Literal[0, 1, 2]
Pairs = Literal["edges", "all"]


class _CountFeatures(BaseTransform):
    """Puts whole numbers into a graph: per graph, per node, or per pair of nodes.

    Counts of a graph are cached, so that a transform that runs in every epoch counts once.
    """

    def __init__(self, roots: Roots, pairs: Pairs, log: bool, labels: str | None) -> None:
        if roots not in (0, 1, 2):
            raise ValueError(f"roots must be 0, 1 or 2, got {roots!r}.")
        if pairs not in ("edges", "all"):
            raise ValueError(f'pairs must be "edges" or "all", got {pairs!r}.')
        self.roots, self.pairs, self.log, self.labels = roots, pairs, log, labels
        self.cache: dict[bytes, Any] = {}

    def forward(self, data: Any) -> Any:
        result = self.counts(data)
        if self.roots == 0:
            data.motifs = append_features("motifs", data.get("motifs"), self._feature(result))
        elif self.roots == 1:
            data.x = append_features("x", data.x, self._feature(result))
        elif self.pairs == "all":
            pairs, value = result[0], self._feature(result[1])
            data.pair_index, data.pair_attr = _append_pairs(data, pairs, value)
        else:
            value = self._feature(_at_edges(data, *result))
            data.edge_attr = append_features("edge_attr", data.edge_attr, value)
        return data

    @property
    def width(self) -> int:
        """How many channels a graph gets."""
        raise NotImplementedError

    def counts(self, data: Any) -> Any:
        """Integers: [G, channels], [N, channels], or [2, P] pairs and [P, channels].

        Args:
            data: a graph or a batch of torch_geometric.
        """
        if getattr(data, "edge_index", None) is None:
            raise ValueError(
                "The graph has no edge_index, and motifs are counted from it: give both "
                "directions of every edge, [2, E]."
            )
        labels = None if self.labels is None else data.get(self.labels)
        if self.labels is not None and labels is None:
            raise ValueError(
                f"The graph has no tensor {self.labels!r}, which `labels` names: give it one, or "
                "name another."
            )
        tensors = (data.edge_index, getattr(data, "batch", None), labels)
        parts = [b"" if t is None else t.cpu().numpy().tobytes() for t in tensors]
        key = sha256(b"|".join([str(data.num_nodes).encode(), *parts])).digest()
        if key not in self.cache:
            graphs = getattr(data, "num_graphs", None)
            batch = tensors[1]
            self.cache[key] = self._count(
                simple_graphs(data.edge_index, data.num_nodes, batch, graphs, labels)
            )
        return _on_device(data.edge_index.device, self.cache[key])

    def _count(self, graphs: Graphs) -> Any:
        raise NotImplementedError

    def _feature(self, count: Tensor) -> Tensor:
        dtype = torch.get_default_dtype()
        if self.log:
            return count.double().log1p().to(dtype)
        most = 2 / torch.finfo(dtype).eps  # up to which all whole numbers have a value of their own
        if count.numel() and int(count.max()) > most:
            raise ValueError(
                f"A count is {int(count.max())}, which {str(dtype).removeprefix('torch.')} would "
                "round: leave log=True, or set torch's default type to float64."
            )
        return count.to(dtype)


class _MotifFeatures(_CountFeatures):
    """Counts of patterns, one channel for every pattern and every choice of its roots."""

    kind: Kind
    advice = ADVICE  # where counts cost too much

    def __init__(
        self,
        patterns: Sequence[Pattern | nx.Graph | str],
        roots: Roots,
        pairs: Pairs,
        log: bool,
        labels: str | None,
        most_steps: float,
    ) -> None:
        super().__init__(roots, pairs, log, labels)
        if isinstance(patterns, str):
            raise ValueError(f"patterns is the text {patterns!r}: write a list, [{patterns!r}].")
        if not patterns:
            raise ValueError("patterns is empty: name at least one pattern.")
        listed = [as_pattern(pattern) for pattern in patterns]
        small = next((p for p in listed if p.nodes < roots), None)
        if small is not None:
            raise ValueError(
                f"A pattern of {small.nodes} nodes cannot have {roots} roots: leave it out."
            )
        self.channels = [one for p in listed for one in _with_roots(p, roots)]
        self.most_steps = most_steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.channels)} channels, roots={self.roots})"

    @property
    def width(self) -> int:
        return len(self.channels)

    def _count(self, graphs: Graphs) -> Any:
        counter = Counter(graphs, self.most_steps, self.advice)
        results = [count_motifs(counter, pattern, self.kind) for pattern in self.channels]
        return _stacked(results, graphs.num_nodes)


@functional_transform("homomorphism_counts")
class HomomorphismCounts(_MotifFeatures):
    """Counts of homomorphisms as features of nodes, of edges, of pairs or of graphs.

    hom(H, G)[r] = sum over maps h with h(roots) = r of prod over edges ij of A[h(i), h(j)].

    `log(1 + count)` is appended to `x` (roots=1), to `edge_attr` or to `pair_attr` of the pairs
    `pair_index` (roots=2), or to `motifs`, [1, channels] (roots=0). A pattern has a channel for
    every choice of its roots up to isomorphism.

    Args:
        patterns: see `geqlib.motifs.patterns.as_pattern`.
        roots: 1 for features of nodes, 2 of pairs, 0 of graphs; patterns that have roots keep them.
        pairs: with two roots, counts at "edges", or at "all" pairs where one is not zero.
        log: whether features are log(1 + count); otherwise counts that the default type would
            round are refused.
        labels: name of the tensor [N] of integers that labelled patterns are compared with.
        most_steps: bound on the terms that the sums of one pattern may need.

    Raises:
        ValueError: patterns that are not simple, or too large; graphs that are directed or have
            loops or parallel edges, or integers as features; costs that are too large; counts
            that are not below 2^53.

    Example:
        >>> from torch_geometric.data import Data
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> data = Data(edge_index=triangle, num_nodes=3)
        >>> HomomorphismCounts(["C3", "P2"], log=False)(data).x.tolist()
        [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    """

    kind = "hom"

    def __init__(
        self,
        patterns: Sequence[Pattern | nx.Graph | str],
        *,
        roots: Roots = 1,
        pairs: Pairs = "edges",
        log: bool = True,
        labels: str | None = None,
        most_steps: float = MOST_STEPS,
    ) -> None:
        super().__init__(patterns, roots, pairs, log, labels, most_steps)


@functional_transform("subgraph_counts")
class SubgraphCounts(_MotifFeatures):
    """Counts of subgraphs as features of nodes, of edges, of pairs or of graphs.

    sub(P) = 1 / |Aut P| sum over partitions rho of prod_B (-1)^(|B| - 1) (|B| - 1)! hom(P / rho),
    see `geqlib.motifs.basis`; a copy is counted once at each choice of its nodes for the roots.

    Args:
        patterns, roots, pairs, log, labels, most_steps: see `HomomorphismCounts`.
        induced: whether edges that the pattern does not have must be absent.

    Raises:
        ValueError: as `HomomorphismCounts`, and induced patterns of more than 7 nodes.

    Example:
        >>> from torch_geometric.data import Data
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> data = Data(edge_index=triangle, num_nodes=3)
        >>> SubgraphCounts(["C3", "P3"], roots=0, log=False)(data).motifs.tolist()
        [[1.0, 3.0]]
    """

    def __init__(
        self,
        patterns: Sequence[Pattern | nx.Graph | str],
        *,
        roots: Roots = 1,
        induced: bool = False,
        pairs: Pairs = "edges",
        log: bool = True,
        labels: str | None = None,
        most_steps: float = MOST_STEPS,
    ) -> None:
        super().__init__(patterns, roots, pairs, log, labels, most_steps)
        self.kind = "induced" if induced else "sub"


@functional_transform("orbit_counts")
class OrbitCounts(_CountFeatures):
    """The 28 orbit adjacencies as features of edges or pairs, or graphlet degrees of nodes.

    Args:
        roots: 2 for the orbit adjacencies, 1 for their sums over rows, from which graphlet degrees
            are read.
        pairs: the matrices at "edges", or at "all" pairs where one is not zero.
        log: whether features are log(1 + count).

    Raises:
        ValueError: other roots; graphs that are directed or have loops or parallel edges, or
            integers as features; costs that are too large; counts that are not below 2^53.

    Example:
        >>> from torch_geometric.data import Data
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> OrbitCounts()(Data(edge_index=triangle, num_nodes=3)).edge_attr.shape
        torch.Size([6, 28])
    """

    def __init__(
        self, *, roots: Literal[1, 2] = 2, pairs: Pairs = "edges", log: bool = True
    ) -> None:
        if roots not in (1, 2):
            raise ValueError("Orbit adjacencies belong to nodes or pairs: roots must be 1 or 2.")
        super().__init__(roots, pairs, log, None)

    @property
    def width(self) -> int:
        return len(ORBIT_PAIRS)

    def _count(self, graphs: Graphs) -> Any:
        index, counts = orbit_adjacencies(graphs)
        if self.roots == 2:
            return index, counts
        zero = counts.new_zeros(graphs.num_nodes, counts.size(1))
        return zero.index_add(0, index[0], counts)


def _on_device(device: torch.device, counts: Any) -> Any:
    """Counts that may have been cached on another device."""
    if isinstance(counts, Tensor):
        return counts.to(device)
    return tuple(part.to(device) for part in counts)


def _with_roots(pattern: Pattern, roots: int) -> list[Pattern]:
    return [pattern] if len(pattern.roots) == roots else rootings(pattern.rooted(), roots)


def _stacked(results: Sequence[Any], nodes: int) -> Any:
    """[N or G, patterns], or pairs [2, P] and [P, patterns], from the counts of each pattern."""
    if isinstance(results[0], Tensor):
        return torch.stack(list(results), 1)
    pairs, values = zip(*results, strict=True)
    return common_pairs(pairs, [value[:, None] for value in values], nodes)


def _at_edges(data: Any, pairs: Tensor, counts: Tensor) -> Tensor:
    """[E, channels] the counts at the edges."""
    key = row_keys([pairs[0], pairs[1]], data.num_nodes)
    edge = row_keys(list(data.edge_index.long()), data.num_nodes)
    if not len(key):
        return counts.new_zeros(len(edge), counts.size(1))
    row = torch.searchsorted(key, edge).clamp(max=len(key) - 1)
    return counts[row] * (key[row] == edge)[:, None]


def _append_pairs(data: Any, pairs: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """[2, P] and [P, channels] beside the features of pairs that a graph has, or alone."""
    if data.get("pair_index") is None:
        return pairs, value
    before = data.pair_attr
    lists = [data.pair_index, pairs], [before, value.to(before.dtype)]
    return common_pairs(*lists, data.num_nodes)


def append_features(name: str, before: Any, value: Tensor) -> Tensor:
    """[rows, channels] features of a graph with counts appended, in the type of the former.

    Args:
        name: of the features.
        before: [rows, ...] the features, or None.
        value: [rows, channels] the counts.

    Raises:
        ValueError: features that are integers, as kinds would become numbers, or another number of
            rows.

    Example:
        >>> append_features("x", torch.ones(2), torch.zeros(2, 1)).tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    if before is None:
        return value
    if not before.is_floating_point():
        raise ValueError(
            f"{name} holds integers, such as kinds, which counts of motifs cannot join: make them "
            "one-hot."
        )
    before = before[:, None] if before.dim() == 1 else before
    if before.dim() != 2 or len(before) != len(value):
        raise ValueError(
            f"{name} has shape {tuple(before.shape)}, and {len(value)} rows of counts join it: "
            f"give it the shape [{len(value)}, features]."
        )
    return torch.cat([before, value.to(before.dtype)], 1)
