"""Orbit adjacencies: how often two nodes lie at two orbits of the same graphlet.

A[h; o, p][u, v] counts the induced connected subgraphs of 2 to 4 nodes in which u is at orbit o, v
at orbit p, and which has h hops between them. There are 28 of them, from the 15 orbits of Pržulj
(Bioinformatics 2007), in which 0 is an end of an edge, 1 and 2 end and middle of a path of three, 3
a triangle, 4 and 5 end and inner node of a path of four, 6 and 7 leaf and centre of a star, 8 a
square, 9, 10 and 11 the nodes of degree 1, 2 and 3 of a paw, 12 and 13 those of degree 2 and 3 of a
diamond, and 14 a complete graph. Sums over rows are graphlet degrees.

Only triangles, wedges and complete graphs of four nodes are listed; all else follows from counts
along their sides. With T the triangles on an edge, W the wedges between its two ends and
D[u, v] = deg v - 1 - T[u, v] those that begin with the edge from u to v, a further node makes
either the graphlet that is asked for, or one with more edges, whose count is subtracted.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.motifs.graphs import Graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.patterns import Pattern
from geqlib.motifs.tables import EXACT, Table, row_keys, row_nodes, sum_of_products

ADVICE = "count patterns of three nodes instead, or in sparser or smaller graphs"


class OrbitPair(NamedTuple):
    """Hops between two nodes of a graphlet, and their orbits."""

    hops: int
    first: int
    second: int


# hops and orbits; the directed ones stand for their transposes too
SYMMETRIC = (
    (1, 0, 0), (2, 1, 1), (1, 3, 3), (3, 4, 4), (1, 5, 5), (2, 6, 6), (1, 8, 8), (2, 8, 8),
    (1, 10, 10), (2, 12, 12), (1, 13, 13), (1, 14, 14),
)  # fmt: skip
DIRECTED = (
    (1, 1, 2), (1, 4, 5), (2, 4, 5), (1, 6, 7), (2, 9, 10), (1, 9, 11), (1, 10, 11), (1, 12, 13),
)  # fmt: skip
ORBIT_PAIRS = tuple(
    OrbitPair(*pair)
    for pair in sorted([*SYMMETRIC, *DIRECTED, *((h, q, p) for h, p, q in DIRECTED)])
)
CLIQUE = Pattern(4, ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), roots=(0, 1))
DIAMOND = Pattern(4, ((0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), roots=(0, 1))


class OrbitAdjacencies(NamedTuple):
    """All 28 matrices at the pairs where one of them is not zero.

    Args:
        pair_index: [2, P] pairs of nodes, sorted.
        counts: [P, 28] integers, in the order of `ORBIT_PAIRS`.
    """

    pair_index: Tensor
    counts: Tensor


def orbit_adjacencies(graphs: Graphs) -> OrbitAdjacencies:
    """The 28 orbit adjacencies of a batch of simple graphs.

    Args:
        graphs: by `simple_graphs`; labels are not used.

    Returns:
        pairs [2, P] and counts [P, 28]; at all other pairs the matrices are zero.

    Raises:
        ValueError: a cost that is too large, counts that are not below 2^53.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> pairs, counts = orbit_adjacencies(simple_graphs(triangle, 3))
        >>> counts[:, ORBIT_PAIRS.index(OrbitPair(1, 3, 3))].tolist()
        [1, 1, 1, 1, 1, 1]
    """
    sums = _Sums(graphs)
    return sums.joined(_matrices(sums))


def _matrices(sums: _Sums) -> dict[OrbitPair, Tensor]:
    """[P] each matrix at the pairs that `sums` lists; the directed ones in one direction."""
    edge, ends = sums.edge, sums.ends  # 1 at adjacent pairs, and at ends of a wedge
    T, W = sums.common * edge, sums.common * ends
    D = (sums.degree[sums.pairs[1]] - 1 - T) * edge
    K, C = sums.hom(CLIQUE) / 2, sums.hom(DIAMOND) * ends / 2
    ab, ac, bc = sums.triangles()  # pair numbers of the sides of all triangles (a, b, c)
    lm, mr, lr, ml = sums.wedges()  # and of all induced wedges l - m - r
    E = sums.scatter(ab, T[bc] - 1) - 2 * K
    square = sums.scatter(lm, W[lr] - 1) - E
    across = (sums.scatter(lr, W[lr] - 1) - 2 * C) / 2
    paw_far = sums.scatter(lr, T[mr]) - 2 * C
    paw_near = (sums.scatter(lm, T[mr]) - E) / 2
    path_ends = sums.wedge_then_edge(W) - square - E - paw_far - D
    return {
        OrbitPair(1, 0, 0): edge,
        OrbitPair(2, 1, 1): W,
        OrbitPair(1, 1, 2): D,
        OrbitPair(1, 3, 3): T,
        OrbitPair(3, 4, 4): path_ends,
        OrbitPair(1, 4, 5): sums.scatter(lm, D[mr]) - square,
        OrbitPair(2, 4, 5): sums.scatter(lr, D[mr]) - 2 * across,
        OrbitPair(1, 5, 5): sums.scatter(lm, D[ml]) - square,
        OrbitPair(2, 6, 6): sums.scatter(lr, D[lm] - 1) - paw_far,
        OrbitPair(1, 6, 7): (sums.scatter(lm, D[lm] - 1) - 2 * paw_near) / 2,
        OrbitPair(1, 8, 8): square,
        OrbitPair(2, 8, 8): across,
        OrbitPair(2, 9, 10): paw_far,
        OrbitPair(1, 9, 11): paw_near,
        OrbitPair(1, 10, 10): sums.scatter(ab, D[ac]) - E,
        OrbitPair(1, 10, 11): sums.scatter(ab, D[ab]) - E,
        OrbitPair(2, 12, 12): C,
        OrbitPair(1, 12, 13): E,
        OrbitPair(1, 13, 13): (sums.scatter(ab, T[ab] - 1) - 2 * K) / 2,
        OrbitPair(1, 14, 14): K,
    }


class _Sums:
    """The pairs of nodes up to three steps apart, and sums over triangles and wedges on them."""

    def __init__(self, graphs: Graphs) -> None:
        self.counter = Counter(graphs, advice=ADVICE)
        self.nodes = graphs.num_nodes
        self.degree = self.counter.degree
        walks = [self.counter.table(_walk(steps)) for steps in (1, 2, 3)]
        keys = [row_keys(table.nodes, self.nodes) for table in walks]
        self.keys = torch.cat(keys).unique()
        self.pairs = torch.stack(row_nodes(self.keys, 2, self.nodes))
        self.edge = self.on_pairs(walks[0])
        self.common = self.on_pairs(walks[1])
        different = self.pairs[0] != self.pairs[1]
        self.ends = ((self.common > 0) & (self.edge == 0) & different).to(self.edge.dtype)

    def on_pairs(self, table: Table) -> Tensor:
        """[P] the values of a table of two variables, 0 at pairs that it lacks."""
        row = torch.searchsorted(self.keys, row_keys(table.nodes, self.nodes))
        return table.value.new_zeros(len(self.keys)).index_add(0, row, table.value)

    def hom(self, pattern: Pattern) -> Tensor:
        """[P] homomorphisms of a pattern with two roots."""
        return self.on_pairs(self.counter.table(pattern))

    def scatter(self, pair: Tensor, value: Tensor) -> Tensor:
        """[P] sums of values that belong to these pairs."""
        return value.new_zeros(len(self.keys)).index_add(0, pair, value)

    def triangles(self) -> tuple[Tensor, Tensor, Tensor]:
        """[triangles (a, b, c)] numbers of the pairs ab, ac and bc."""
        a, b, c = self._paths(closed=True)
        return self._number(a, b), self._number(a, c), self._number(b, c)

    def wedges(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[induced wedges l - m - r] numbers of the pairs lm, mr, lr and ml."""
        left, middle, right = self._paths(closed=False)
        return (
            self._number(left, middle),
            self._number(middle, right),
            self._number(left, right),
            self._number(middle, left),
        )

    def wedge_then_edge(self, wedges: Tensor) -> Tensor:
        """[P] W A."""
        first, edge = self._table(wedges), self._table(self.edge)
        return self.on_pairs(sum_of_products([first.over((0, 2)), edge.over((2, 1))], (0, 1)))

    def joined(self, matrices: dict[OrbitPair, Tensor]) -> OrbitAdjacencies:
        """All matrices side by side, where one of them is not zero."""
        back = self._number(self.pairs[1], self.pairs[0])
        columns = []
        for pair in ORBIT_PAIRS:
            hops, first, second = pair
            if pair in matrices:
                columns.append(matrices[pair])
            else:
                columns.append(matrices[OrbitPair(hops, second, first)][back])
        counts = torch.stack(columns, 1)
        if counts.numel() and bool(counts.max() >= EXACT):
            raise ValueError(f"An orbit count is 2^53 or more, and would not be exact: {ADVICE}.")
        used = (counts != 0).any(1)
        return OrbitAdjacencies(self.pairs[:, used], counts[used].long())

    def _paths(self, closed: bool) -> tuple[Tensor, ...]:
        """[R] nodes a, b, c with edges a - b and b - c, and a - c or neither this nor a = c."""
        edge = self._table(self.edge)
        last = edge if closed else self._table(self.ends)
        tables = [edge.over((0, 1)), edge.over((1, 2)), last.over((0, 2))]
        return sum_of_products(tables, (0, 1, 2)).nodes

    def _table(self, values: Tensor) -> Table:
        used = values != 0
        nodes = (self.pairs[0][used], self.pairs[1][used])
        return Table((0, 1), nodes, values[used], self.nodes)

    def _number(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.searchsorted(self.keys, row_keys([first, second], self.nodes))


def _walk(steps: int) -> Pattern:
    """A path between two roots, whose homomorphisms are walks."""
    path = tuple((k, k + 1) for k in range(steps))
    return Pattern(steps + 1, path, roots=(0, steps))
