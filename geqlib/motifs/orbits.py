"""Orbit adjacencies: how often two nodes lie at two orbits of the same graphlet.

A[h; o, p][u, v] counts the induced connected subgraphs of 2 to 4 nodes in which u is at orbit o, v
at orbit p, and which has h hops between them. There are 28 of them, from the 15 orbits of Pržulj
(Bioinformatics 2007), in which 0 is an end of an edge, 1 and 2 end and middle of a path of three, 3
a triangle, 4 and 5 end and inner node of a path of four, 6 and 7 leaf and centre of a star, 8 a
square, 9, 10 and 11 the nodes of degree 1, 2 and 3 of a paw, 12 and 13 those of degree 2 and 3 of a
diamond, and 14 a complete graph. Sums over rows are graphlet degrees.

Only triangles, wedges and complete graphs of four nodes are listed; all else follows from counts
along their sides. With T the triangles on an edge, W the wedges between its two ends and
D[u, v] = deg v - 1 - T[u, v] those that begin with the edge from u to v, a node that
completes a graphlet either makes the one that is asked for, or one with more edges, whose count is
known and subtracted.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.motifs.homomorphisms import Counter, Graphs
from geqlib.motifs.patterns import Pattern
from geqlib.motifs.tables import EXACT, Table, row_keys, row_nodes, sum_of_products

ADVICE = "count patterns of three nodes instead, or in sparser or smaller graphs"


class Place(NamedTuple):
    """Hops between two nodes of a graphlet, and their orbits."""

    hops: int
    first: int
    second: int


SYMMETRIC = (
    Place(1, 0, 0), Place(2, 1, 1), Place(1, 3, 3), Place(3, 4, 4), Place(1, 5, 5), Place(2, 6, 6),
    Place(1, 8, 8), Place(2, 8, 8), Place(1, 10, 10), Place(2, 12, 12), Place(1, 13, 13),
    Place(1, 14, 14),
)  # fmt: skip
DIRECTED = (
    Place(1, 1, 2), Place(1, 4, 5), Place(2, 4, 5), Place(1, 6, 7), Place(2, 9, 10),
    Place(1, 9, 11), Place(1, 10, 11), Place(1, 12, 13),
)  # fmt: skip
ORBIT_PAIRS = tuple(
    sorted([*SYMMETRIC, *DIRECTED, *(Place(p.hops, p.second, p.first) for p in DIRECTED)])
)
CLIQUE = Pattern(4, ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), roots=(0, 1))
DIAMOND = Pattern(4, ((0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), roots=(0, 1))


class OrbitAdjacencies(NamedTuple):
    """All 28 matrices on the pairs where one of them is not zero.

    Args:
        pair_index: [2, P] pairs of nodes, sorted.
        counts: [P, 28] integers, in the order of `ORBIT_PAIRS`.
    """

    pair_index: Tensor
    counts: Tensor


def orbit_adjacencies(graphs: Graphs) -> OrbitAdjacencies:
    """The 28 orbit adjacencies of a batch of simple graphs.

    Args:
        graphs: by `simple_graphs`.

    Raises:
        ValueError: a cost that is too large, counts that are not below 2^53.

    Example:
        >>> from geqlib.motifs.homomorphisms import simple_graphs
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> pairs, counts = orbit_adjacencies(simple_graphs(triangle, 3))
        >>> counts[:, ORBIT_PAIRS.index(Place(1, 3, 3))].tolist()
        [1, 1, 1, 1, 1, 1]
    """
    sums = _Sums(graphs)
    return sums.joined(_matrices(sums))


def _matrices(sums: _Sums) -> dict[Place, Tensor]:
    """[P] each matrix on the pairs that `sums` lists; the directed ones in one direction."""
    edge, ends = sums.edge, sums.ends  # masks of adjacent pairs and of ends of a wedge
    T, W = sums.common * edge, sums.common * ends
    D = (sums.degree[sums.pairs[1]] - 1 - T) * edge
    K, C = sums.hom(CLIQUE) / 2, sums.hom(DIAMOND) * ends / 2
    ab, ac, bc = sums.triangles()  # pair numbers of the sides of all triangles (a, b, c)
    lm, mr, lr, ml = sums.wedges()  # and of all induced wedges l - m - r
    E = sums.at(ab, T[bc] - 1) - 2 * K
    square = sums.at(lm, W[lr] - 1) - E
    across = (sums.at(lr, W[lr] - 1) - 2 * C) / 2
    paw_far = sums.at(lr, T[mr]) - 2 * C
    paw_near = (sums.at(lm, T[mr]) - E) / 2
    path_ends = sums.wedge_then_edge(W) - square - E - paw_far - D
    return {
        Place(1, 0, 0): edge,
        Place(2, 1, 1): W,
        Place(1, 1, 2): D,
        Place(1, 3, 3): T,
        Place(3, 4, 4): path_ends,
        Place(1, 4, 5): sums.at(lm, D[mr]) - square,
        Place(2, 4, 5): sums.at(lr, D[mr]) - 2 * across,
        Place(1, 5, 5): sums.at(lm, D[ml]) - square,
        Place(2, 6, 6): sums.at(lr, D[lm] - 1) - paw_far,
        Place(1, 6, 7): (sums.at(lm, D[lm] - 1) - 2 * paw_near) / 2,
        Place(1, 8, 8): square,
        Place(2, 8, 8): across,
        Place(2, 9, 10): paw_far,
        Place(1, 9, 11): paw_near,
        Place(1, 10, 10): sums.at(ab, D[ac]) - E,
        Place(1, 10, 11): sums.at(ab, D[ab]) - E,
        Place(2, 12, 12): C,
        Place(1, 12, 13): E,
        Place(1, 13, 13): (sums.at(ab, T[ab] - 1) - 2 * K) / 2,
        Place(1, 14, 14): K,
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
        self.edge = self.spread(walks[0])
        self.common = self.spread(walks[1])
        different = self.pairs[0] != self.pairs[1]
        self.ends = ((self.common > 0) & (self.edge == 0) & different).to(self.edge.dtype)

    def spread(self, table: Table) -> Tensor:
        """[P] a table of two variables, on all pairs."""
        place = torch.searchsorted(self.keys, row_keys(table.nodes, self.nodes))
        return table.value.new_zeros(len(self.keys)).index_add(0, place, table.value)

    def hom(self, pattern: Pattern) -> Tensor:
        return self.spread(self.counter.table(pattern))

    def at(self, pair: Tensor, value: Tensor) -> Tensor:
        """[P] sums of values that belong to these pairs."""
        return value.new_zeros(len(self.keys)).index_add(0, pair, value)

    def triangles(self) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = self._paths(closed=True)
        return self._number(a, b), self._number(a, c), self._number(b, c)

    def wedges(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
        return self.spread(sum_of_products([first.of((0, 2)), edge.of((2, 1))], (0, 1)))

    def joined(self, matrices: dict[Place, Tensor]) -> OrbitAdjacencies:
        """All matrices side by side, where one of them is not zero."""
        back = self._number(self.pairs[1], self.pairs[0])
        columns = []
        for hops, first, second in ORBIT_PAIRS:
            if (hops, first, second) in matrices:
                columns.append(matrices[Place(hops, first, second)])
            else:
                columns.append(matrices[Place(hops, second, first)][back])
        counts = torch.stack(columns, 1)
        if counts.numel() and bool(counts.max() >= EXACT):
            raise ValueError("An orbit count is 2^53 or more, and would not be exact.")
        used = (counts != 0).any(1)
        return OrbitAdjacencies(self.pairs[:, used], counts[used].long())

    def _paths(self, closed: bool) -> tuple[Tensor, ...]:
        """[R] nodes a, b, c with edges a - b and b - c, and a - c or neither this nor a = c."""
        edge = self._table(self.edge)
        last = edge if closed else self._table(self.ends)
        tables = [edge.of((0, 1)), edge.of((1, 2)), last.of((0, 2))]
        return sum_of_products(tables, (0, 1, 2)).nodes

    def _table(self, values: Tensor) -> Table:
        used = values != 0
        nodes = (self.pairs[0][used], self.pairs[1][used])
        return Table((0, 1), nodes, values[used], self.nodes)

    def _number(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.searchsorted(self.keys, row_keys([first, second], self.nodes))


def _walk(steps: int) -> Pattern:
    path = tuple((k, k + 1) for k in range(steps))
    return Pattern(steps + 1, path, roots=(0, steps))
