"""Counts of homomorphisms: hom(H, G)[r] = sum over maps h of prod over edges ij of A[h(i), h(j)].

A homomorphism h maps the nodes of a pattern H to nodes of a graph G so that every edge of H is
mapped to an edge of G. hom(H, G)[r] is the number of those that map the roots of H to the nodes r.
A pattern without roots has one count for each graph, a pattern with one root has one for each node,
and a pattern with two roots has one for each pair of nodes.
"""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import torch
from torch import Tensor

from geqlib.graph.segments import ragged_ranges, segment_lengths
from geqlib.motifs.bounds import ADVICE, MOST_ROWS, MOST_STEPS
from geqlib.motifs.cliques import clique_counts
from geqlib.motifs.copies import PathLists
from geqlib.motifs.cores import core_edges
from geqlib.motifs.elimination import EDGE, best_rooted, elimination, parts_with_roots
from geqlib.motifs.graphs import Graphs, simple_graphs
from geqlib.motifs.patterns import Pattern, ordered_form, unordered_form
from geqlib.motifs.tables import EXACT, Table, sum_of_products


class Counter:
    """Counts homomorphisms of patterns into the graphs of one batch.

    Counts of parts are cached, so that several patterns which share parts take less time in one
    counter than in one each.

    Args:
        graphs: from `geqlib.motifs.graphs.simple_graphs`.
        most_steps: largest number of terms that the sums for one pattern may have, see `cost`.
        advice: what to do where they have more, as the end of an error's sentence.

    Attributes:
        size: [G] number of nodes of each graph, float64.
        degree: [N] degree of each node, float64.
        tables: the counts of connected rooted patterns that were needed so far, by canonical form.
        totals: [G] those of connected patterns without roots.

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
        self._cores: dict[int, Counter] = {}
        self._paths: dict[bool, PathLists] = {}
        self.size = segment_lengths(graphs.batch, graphs.num_graphs).double()
        self.degree = segment_lengths(graphs.edge_index[0], graphs.num_nodes).double()

    def core(self, degree: int) -> Counter:
        """A counter in the `degree`-core of the graphs: their largest subgraph in which every node
        has at least that many neighbours. It is cached, and is this counter where nothing is left
        out."""
        if degree < 2:
            return self
        if degree not in self._cores:
            edges = core_edges(self.graphs.edge_index, self.graphs.num_nodes, degree)
            if edges.shape == self.graphs.edge_index.shape:
                self._cores[degree] = self
            else:
                graphs = replace(self.graphs, edge_index=edges)
                self._cores[degree] = Counter(graphs, self.most_steps, self.advice)
        return self._cores[degree]

    def path_lists(self, cyclic: bool) -> PathLists:
        """The paths of these graphs, or the paths that are halves of cycles if `cyclic` is true."""
        if cyclic not in self._paths:
            edges, nodes = self.graphs.edge_index, self.graphs.num_nodes
            self._paths[cyclic] = PathLists(edges, nodes, cyclic)
        return self._paths[cyclic]

    def of_roots(self, pattern: Pattern) -> Tensor | tuple[Tensor, Tensor]:
        """`of_graphs`, `of_nodes` or `of_pairs` for a pattern with 0, 1 or 2 roots.

        Raises:
            ValueError: more roots, and as these three.
        """
        check_roots(pattern)
        return (self.of_graphs, self.of_nodes, self.of_pairs)[len(pattern.roots)](pattern)

    def of_graphs(self, pattern: Pattern) -> Tensor:
        """[G] number of homomorphisms into each graph: the product over the pattern's components.

        Raises:
            ValueError: roots, a cost that is too large, counts that are not below 2^53.
        """
        if pattern.roots:
            raise ValueError("A count of graphs has no roots: use of_nodes or of_pairs.")
        return _as_integers(self._total(pattern))

    def of_nodes(self, pattern: Pattern) -> Tensor:
        """[N] number of homomorphisms that map the root to each node.

        Components without the root multiply it by their counts in the graph of the node.

        Raises:
            ValueError: other than one root, a cost that is too large, counts that are not below
                2^53.
        """
        if len(pattern.roots) != 1:
            raise ValueError(f"A count of nodes has one root, and not {len(pattern.roots)}.")
        near, rest = _near_roots(pattern)
        return _as_integers(self.table(near).dense() * self._total(rest)[self.graphs.batch])

    def of_pairs(self, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """[2, P] pairs of nodes, and [P] number of homomorphisms that map the two roots to each.

        The number is 0 for all pairs that are not listed. Two roots that are not connected have a
        value for every pair of nodes of one graph.

        Raises:
            ValueError: other than two roots, a cost that is too large, more than 10^8 pairs, counts
                that are not below 2^53.
        """
        if len(pattern.roots) != 2:
            raise ValueError(f"A count of pairs has two roots, and not {len(pattern.roots)}.")
        near, rest = _near_roots(pattern)
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
        value = table.value * self._total(rest)[self.graphs.batch[first]]
        return torch.stack([first, second]), _as_integers(value)

    def table(self, pattern: Pattern) -> Table:
        """The counts of a connected pattern as a table over its roots, in their order.

        Args:
            pattern: with at least one root.

        Raises:
            ValueError: a cost that is too large, sums that are not below 2^53.
        """
        form, order = unordered_form(pattern)
        if form not in self.tables:
            self._check_cost(form)
        table = self._of_form(form)
        roots = [pattern.roots.index(node) for node in order[: len(pattern.roots)]]
        if roots == sorted(roots):
            return table
        return sum_of_products([table.over(roots)], range(len(roots)))

    def _of_form(self, form: Pattern) -> Table:
        if form not in self.tables:
            self.tables[form] = self._nodes(form) if form.nodes == 1 else self._sum(form)
        return self.tables[form]

    def _nodes(self, form: Pattern) -> Table:
        """A table that holds 1 for every node, or for every node with the label of the pattern."""
        node = torch.arange(self.graphs.num_nodes, device=self.graphs.batch.device)
        if form.labels:
            if self.graphs.labels is None:
                raise ValueError(
                    "The pattern has labels, but the graphs have none: name the tensor that holds "
                    "those of the nodes by `labels`."
                )
            node = node[self.graphs.labels == form.labels[0]]
        one = torch.ones(len(node), dtype=torch.float64, device=node.device)
        return Table((0,), (node,), one, self.graphs.num_nodes)

    def _sum(self, form: Pattern) -> Table:
        parts = [self._of_form(part).over(scope) for part, scope in elimination(form).parts]
        return sum_of_products(parts, range(len(form.roots)))

    def _total(self, pattern: Pattern | None) -> Tensor:
        """[G] product of the counts of the components; ones without a pattern."""
        total = torch.ones_like(self.size)
        if pattern is None:
            return total
        for component in pattern.components():
            part = ordered_form(pattern.induced(component))
            if part not in self.totals:
                zero = torch.zeros_like(self.size)
                self.totals[part] = zero.index_add(0, self.graphs.batch, self._of_connected(part))
            total = total * self.totals[part]
        return total

    def _of_connected(self, pattern: Pattern) -> Tensor:
        """[N] numbers whose sum over the nodes of a graph is its count of a connected pattern."""
        if _is_clique(pattern):
            edges, nodes = self.graphs.edge_index, self.graphs.num_nodes
            once = clique_counts(edges, nodes, pattern.nodes, self.most_steps, self.advice)[-1]
            return factorial(pattern.nodes) * once.double()
        return self.table(best_rooted(pattern)).dense()

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
            if form not in self.tables and not _is_clique(part):
                self._check_cost(form)

    def _check_pairs(self, pattern: Pattern) -> None:
        pairs = float(self.size.square().sum())
        if pairs > MOST_ROWS:
            raise ValueError(
                f"The roots of a pattern of {pattern.nodes} nodes are not connected, so that its "
                f"count has a value for each of {pairs:.1e} pairs of nodes, and {MOST_ROWS:.1e} "
                "are allowed: count its parts around nodes, or on smaller graphs."
            )

    def _check_cost(self, form: Pattern) -> None:
        cost = self.cost(form)
        if cost > self.most_steps:
            raise ValueError(
                f"A pattern of {form.nodes} nodes and {form.degree} edges may need up to "
                f"{cost:.1e} steps on these graphs, and {self.most_steps:.1e} are allowed: "
                f"{self.advice}."
            )


def check_roots(pattern: Pattern) -> None:
    """Refuse a pattern with more than two roots, by a ValueError."""
    if len(pattern.roots) > 2:
        raise ValueError(f"Patterns with 0, 1 or 2 roots are counted, not {len(pattern.roots)}.")


def _is_clique(pattern: Pattern) -> bool:
    """Whether copies of a connected pattern are listed, each once, which takes less than a sum."""
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
    return counter.of_roots(pattern)


def _near_roots(pattern: Pattern) -> tuple[Pattern, Pattern | None]:
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


def _as_integers(value: Tensor) -> Tensor:
    """Counts in floating point as integers, if they are exact."""
    if len(value) and bool(value.max() >= EXACT):
        raise ValueError(
            "A count is 2^53 or more, and would not be exact: count a smaller pattern, or on "
            "sparser graphs."
        )
    return value.long()
