"""Counts of homomorphisms: hom(H, G)[r] = sum over maps h of prod over edges ij of A[h(i), h(j)].

A homomorphism h maps the nodes of a pattern H to nodes of a graph G so that every edge of H is
mapped to an edge of G. hom(H, G)[r] is the number of those that map the roots of H to the nodes r.
A pattern without roots has one count for each graph, a pattern with one root has one for each node,
and a pattern with two roots has one for each pair of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import factorial

import torch
from torch import Tensor

from geqlib.graph.checks import as_index, check_edges
from geqlib.graph.pool import graph_index
from geqlib.graph.segments import ragged_ranges, segment_lengths
from geqlib.motifs.bounds import ADVICE, MOST_KEPT, MOST_STEPS
from geqlib.motifs.cliques import clique_counts
from geqlib.motifs.copies import PathLists
from geqlib.motifs.cores import core_edges
from geqlib.motifs.elimination import EDGE, best_rooted, elimination, parts_with_roots
from geqlib.motifs.patterns import Pattern, ordered_form, unordered_form
from geqlib.motifs.tables import EXACT, Table, row_nodes, sum_of_products


@dataclass(frozen=True)
class Graphs:
    """A batch of simple undirected graphs.

    Args:
        edge_index: [2, E] both directions of every edge, sorted.
        num_nodes: N.
        batch: [N] graph of each node.
        num_graphs: G.
        labels: [N] integers, or None.
    """

    edge_index: Tensor
    num_nodes: int
    batch: Tensor
    num_graphs: int
    labels: Tensor | None = None


def simple_graphs(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    labels: Tensor | None = None,
) -> Graphs:
    """Check that the graphs of a batch are simple and undirected, and return them as `Graphs`.

    Args:
        edge_index: [2, E] both directions of every edge.
        num_nodes: N.
        batch: [N] graph of each node.
        num_graphs: number of graphs.
        labels: [N] integers, with which the labels of patterns are compared.

    Raises:
        ValueError: loops, parallel edges, edges in one direction only or between two graphs, labels
            that are no integers.

    Example:
        >>> simple_graphs(torch.tensor([[0, 1], [1, 0]]), 2).num_graphs
        1
    """
    edge_index = as_index(edge_index)
    check_edges(edge_index, num_nodes)
    batch, num_graphs = graph_index(batch, num_graphs, num_nodes, edge_index.device)
    source, target = edge_index
    if bool((source == target).any()):
        node = int(source[source == target][0])
        raise ValueError(
            f"Node {node} has a loop, and motifs are counted in simple graphs: remove loops, for "
            "example by torch_geometric.utils.remove_self_loops."
        )
    key = (source * num_nodes + target).sort().values
    if bool((key.diff() == 0).any()):
        edge = int(key[1:][key.diff() == 0][0])
        raise ValueError(
            f"The edge {edge // num_nodes} -> {edge % num_nodes} occurs twice, and motifs are "
            "counted in simple graphs: remove parallel edges, for example by "
            "torch_geometric.utils.coalesce."
        )
    back = (target * num_nodes + source).sort().values
    if not torch.equal(key, back):
        edge = int(key[~torch.isin(key, back)][0])
        raise ValueError(
            f"The edge {edge // num_nodes} -> {edge % num_nodes} has no edge back, and motifs are "
            "counted in undirected graphs: add the other directions if that is what you mean, for "
            "example by torch_geometric.utils.to_undirected."
        )
    across = batch[source] != batch[target]
    if bool(across.any()):
        edge = int(across.nonzero()[0])
        raise ValueError(
            f"The edge {int(source[edge])} -> {int(target[edge])} joins two graphs of the batch: "
            "count nodes on over the graphs, as torch_geometric's batches do."
        )
    if labels is not None:
        labels = as_index(labels, "labels")
        if labels.shape != (num_nodes,):
            raise ValueError(f"labels has shape {tuple(labels.shape)}: expected [{num_nodes}].")
    edges = torch.stack(row_nodes(key, 2, num_nodes))
    return Graphs(edges, num_nodes, as_index(batch, "batch"), num_graphs or 0, labels)


class Counter:
    """Counts homomorphisms of patterns into the graphs of one batch.

    Counts of parts are kept, so that patterns which share parts are counted faster together.

    Args:
        graphs: from `simple_graphs`.
        most_steps: largest number of terms that the sums for one pattern may have, see `cost`.
        advice: what is to be done where they have more, as the end of an error's sentence.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
        >>> count = Counter(simple_graphs(square, 4))
        >>> count.of_graphs(as_pattern("C4")).tolist()  # closed walks of four steps
        [32]
        >>> count.of_nodes(as_pattern("P3").rooted(0)).tolist()  # walks of two steps
        [4, 4, 4, 4]
    """

    def __init__(
        self, graphs: Graphs, most_steps: float = MOST_STEPS, advice: str = ADVICE
    ) -> None:
        self.graphs, self.most_steps, self.advice = graphs, most_steps, advice
        one = torch.ones(graphs.edge_index.size(1), dtype=torch.float64)
        one = one.to(graphs.edge_index.device)
        nodes = (graphs.edge_index[0], graphs.edge_index[1])
        self.tables = {EDGE: Table((0, 1), nodes, one, graphs.num_nodes)}
        self.totals: dict[Pattern, Tensor] = {}
        self.cores: dict[int, Counter] = {}
        self.paths: dict[bool, PathLists] = {}
        size = segment_lengths(graphs.batch, graphs.num_graphs).double()
        self.size = size
        self.degree = segment_lengths(graphs.edge_index[0], graphs.num_nodes).double()

    def core(self, degree: int) -> Counter:
        """A counter in the core of the graphs for this degree: their largest subgraph in which all
        nodes have at least this degree."""
        if degree < 2:
            return self
        if degree not in self.cores:
            edges = core_edges(self.graphs.edge_index, self.graphs.num_nodes, degree)
            if edges.shape == self.graphs.edge_index.shape:
                self.cores[degree] = self
            else:
                graphs = replace(self.graphs, edge_index=edges)
                self.cores[degree] = Counter(graphs, self.most_steps, self.advice)
        return self.cores[degree]

    def path_lists(self, cyclic: bool) -> PathLists:
        """The paths of these graphs, or the paths that are halves of cycles if `cyclic` is true."""
        if cyclic not in self.paths:
            edges, nodes = self.graphs.edge_index, self.graphs.num_nodes
            self.paths[cyclic] = PathLists(edges, nodes, cyclic)
        return self.paths[cyclic]

    def of_graphs(self, pattern: Pattern) -> Tensor:
        """[G] number of homomorphisms into each graph: the product over the pattern's components.

        Raises:
            ValueError: roots, a cost that is too large, counts that are not below 2^53.
        """
        if pattern.roots:
            raise ValueError("A count of graphs has no roots: use of_nodes or of_pairs.")
        return _whole(self._total(pattern))

    def of_nodes(self, pattern: Pattern) -> Tensor:
        """[N] number of homomorphisms that map the root to each node."""
        if len(pattern.roots) != 1:
            raise ValueError(f"A count of nodes has one root, and not {len(pattern.roots)}.")
        near, rest = _split(pattern)
        return _whole(self.table(near).dense() * self._total_of(rest)[self.graphs.batch])

    def of_pairs(self, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """[2, P] pairs of nodes, and [P] number of homomorphisms that map the two roots to each.

        The number is 0 for all pairs that are not listed.
        """
        if len(pattern.roots) != 2:
            raise ValueError(f"A count of pairs has two roots, and not {len(pattern.roots)}.")
        near, rest = _split(pattern)
        parts = near.components()
        if len(parts) == 1:
            table = self.table(near)
            first, second = table.nodes
        else:  # the two roots are not connected: every pair of nodes of one graph
            one, two = (
                self.table(near.induced(part, [root])).dense()
                for root in near.roots
                for part in parts
                if root in part
            )
            self._check_pairs(pattern)
            first, second = _all_pairs(self.graphs, self.size)
            table = Table((0, 1), (first, second), one[first] * two[second], len(one))
        value = table.value * self._total_of(rest)[self.graphs.batch[first]]
        return torch.stack([first, second]), _whole(value)

    def table(self, pattern: Pattern) -> Table:
        """The counts of a connected pattern as a table over its roots, in their order."""
        form, order = unordered_form(pattern)
        if form not in self.tables:
            self._check_cost(form)
        table = self._of_form(form)
        place = [pattern.roots.index(node) for node in order[: len(pattern.roots)]]
        if place == sorted(place):
            return table
        return sum_of_products([table.of(place)], range(len(place)))

    def _of_form(self, form: Pattern) -> Table:
        if form not in self.tables:
            self.tables[form] = self._nodes(form) if form.nodes == 1 else self._sum(form)
        return self.tables[form]

    def _nodes(self, form: Pattern) -> Table:
        """A table that holds 1 for every node, or for every node with the label of the pattern."""
        node = torch.arange(self.graphs.num_nodes, device=self.graphs.batch.device)
        if form.labels:
            if self.graphs.labels is None:
                raise ValueError("The pattern has labels, but the graphs have none: give labels.")
            node = node[self.graphs.labels == form.labels[0]]
        one = torch.ones(len(node), dtype=torch.float64, device=node.device)
        return Table((0,), (node,), one, self.graphs.num_nodes)

    def _sum(self, form: Pattern) -> Table:
        parts = [(self._of_form(part), place) for part, place in elimination(form).parts]
        return sum_of_products([t.of(place) for t, place in parts], range(len(form.roots)))

    def _total(self, pattern: Pattern) -> Tensor:
        total = torch.ones_like(self.size)
        for component in pattern.components():
            part = ordered_form(pattern.induced(component))
            if part not in self.totals:
                zero = torch.zeros_like(self.size)
                self.totals[part] = zero.index_add(0, self.graphs.batch, self._of_connected(part))
            total = total * self.totals[part]
        return total

    def _of_connected(self, pattern: Pattern) -> Tensor:
        """[N] numbers whose sum over the nodes of a graph is its count of a connected pattern."""
        if _listed_as_cliques(pattern):
            edges, nodes = self.graphs.edge_index, self.graphs.num_nodes
            once = clique_counts(edges, nodes, pattern.nodes, self.most_steps, self.advice)[-1]
            return factorial(pattern.nodes) * once.double()
        return self.table(best_rooted(pattern)).dense()

    def _total_of(self, pattern: Pattern | None) -> Tensor:
        return torch.ones_like(self.size) if pattern is None else self._total(pattern)

    def cost(self, pattern: Pattern) -> float:
        """An upper bound on the number of terms in the sums for a connected pattern with roots.

        The terms of a sum over k nodes fixed at once are at most the k-tuples of nodes of one
        graph. They are also at most the homomorphisms of a spanning tree of the pattern, whose
        number is largest for a star: the sum of degree^(nodes - 1).
        """
        total = 0.0
        for scope, nodes, _ in elimination(unordered_form(pattern)[0]).steps:
            anywhere, stars = self.size.pow(scope).sum(), self.degree.pow(nodes - 1).sum()
            total += float(torch.minimum(anywhere, stars))
        return total

    def check_cost(self, pattern: Pattern) -> None:
        """Refuse a pattern whose count would cost too much, before any part of it is counted.

        Raises:
            ValueError: if the `cost` of one of its components is above `most_steps`. Complete
                graphs without roots are bounded where they are listed.
        """
        for part in parts_with_roots(pattern):
            form = unordered_form(best_rooted(part))[0]
            if form not in self.tables and not _listed_as_cliques(part):
                self._check_cost(form)

    def _check_pairs(self, pattern: Pattern) -> None:
        pairs = float(self.size.square().sum())
        if pairs > MOST_KEPT:
            raise ValueError(
                f"The roots of a pattern of {pattern.nodes} nodes are not connected, so that its "
                f"count has a row for each of {pairs:.1e} pairs of nodes, and {MOST_KEPT:.1e} are "
                "allowed: count its parts around nodes, or on smaller graphs."
            )

    def _check_cost(self, form: Pattern) -> None:
        cost = self.cost(form)
        if cost > self.most_steps:
            raise ValueError(
                f"A pattern of {form.nodes} nodes and {form.degree} edges may need up to "
                f"{cost:.1e} steps on these graphs, and {self.most_steps:.1e} are allowed: "
                f"{self.advice}."
            )


def _listed_as_cliques(pattern: Pattern) -> bool:
    """Whether the copies of a connected pattern are listed, each once, in place of a sum."""
    complete = pattern.degree == pattern.nodes * (pattern.nodes - 1) // 2
    return complete and pattern.nodes > 2 and not pattern.roots and not pattern.labels


def count_homomorphisms(
    pattern: Pattern,
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    labels: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Number of homomorphisms of one pattern into the graphs of a batch.

    To count several patterns, one `Counter` is faster.

    Args:
        pattern: with 0, 1 or 2 roots.
        edge_index, num_nodes, batch, num_graphs, labels: of the graphs, see `simple_graphs`.

    Returns:
        [G] for each graph if the pattern has no root, [N] for each node if it has one, and pairs of
        nodes [2, P] with their counts [P] if it has two.

    Raises:
        ValueError: more than two roots, and see `simple_graphs` and `Counter`.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> count_homomorphisms(as_pattern("K3"), triangle, 3).tolist()
        [6]
    """
    counter = Counter(simple_graphs(edge_index, num_nodes, batch, num_graphs, labels))
    ways = (counter.of_graphs, counter.of_nodes, counter.of_pairs)
    if len(pattern.roots) > 2:
        raise ValueError(f"Patterns with 0, 1 or 2 roots are counted, not {len(pattern.roots)}.")
    return ways[len(pattern.roots)](pattern)


def _split(pattern: Pattern) -> tuple[Pattern, Pattern | None]:
    """The components with roots as one pattern, and the others as another, None without others."""
    parts = pattern.components()
    near = [node for part in parts if set(part) & set(pattern.roots) for node in part]
    rest = [node for node in range(pattern.nodes) if node not in near]
    return pattern.induced(near, pattern.roots), pattern.induced(rest) if rest else None


def _all_pairs(graphs: Graphs, size: Tensor) -> tuple[Tensor, Tensor]:
    order = graphs.batch.argsort(stable=True)
    of_node = size.long()[graphs.batch[order]]
    first = order.repeat_interleave(of_node)
    start = (size.cumsum(0) - size).long()[graphs.batch[order]]
    return first, order[ragged_ranges(start, of_node)]


def _whole(value: Tensor) -> Tensor:
    """Counts in floating point as integers, if they are exact."""
    if len(value) and bool(value.max() >= EXACT):
        raise ValueError(
            "A count is 2^53 or more, and would not be exact: count a smaller pattern, or on "
            "sparser graphs."
        )
    return value.long()
