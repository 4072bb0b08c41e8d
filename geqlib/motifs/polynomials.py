"""Equivariant polynomials of the adjacency matrix, and those that PPGN cannot compute.

Every polynomial in the entries of a matrix A that commutes with permutations of the nodes is a
combination of P_H[a, b] = sum over the other nodes of the product of A along the edges of H, for
multigraphs H with two marked nodes (one, for outputs per node; none, for invariants); its degree is
the number of edges. Source: Puny et al., "Equivariant Polynomials for Graph Neural Networks" (ICML
2023). For A of zeros and ones these are the homomorphism counts of simple graphs H.

PPGN multiplies matrices and entries: it computes H if and only if H shrinks to its marked nodes
when parallel edges are merged and unmarked nodes of degree at most 2 are removed, those of degree 2
leaving an edge between their neighbours.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from geqlib.motifs.graphs import Graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.patterns import MOST_NODES, Pattern, ordered_form, rootings
from geqlib.motifs.tables import row_keys

MOST_DEGREE = 6
ADVICE = "take polynomials of a smaller degree, or smaller or sparser graphs"


@cache
def polynomials(degree: int) -> tuple[Pattern, ...]:
    """The connected simple patterns with that many edges, with 0, 1 and 2 roots.

    Raises:
        ValueError: a degree out of range.

    Example:
        >>> len(polynomials(1)), len(polynomials(2))
        (3, 6)
    """
    if not 1 <= degree <= MOST_DEGREE:
        raise ValueError(f"degree is {degree}: choose 1 to {MOST_DEGREE}.")
    return tuple(q for r in (0, 1, 2) for p in _connected(degree) for q in rootings(p, r))


@cache
def missing_polynomials(degree: int) -> tuple[Pattern, ...]:
    """The polynomials of that degree that PPGN does not compute, found by enumeration.

    Example:
        >>> [len(missing_polynomials(degree)) for degree in (4, 5, 6)]
        [0, 1, 11]
        >>> missing_polynomials(5)[0].roots  # the two nodes of a diamond that are not adjacent
        (0, 1)
    """
    return tuple(pattern for pattern in polynomials(degree) if not shrinks(pattern))


def shrinks(pattern: Pattern) -> bool:
    """Whether PPGN computes the polynomial of a pattern.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> shrinks(as_pattern("diamond")), shrinks(as_pattern("K4"))
        (True, False)
    """
    around = {node: set(others) for node, others in enumerate(pattern.neighbours)}
    while True:
        node = next((v for v in around if v not in pattern.roots and len(around[v]) <= 2), None)
        if node is None:
            return set(around) == set(pattern.roots)
        others = around.pop(node)
        for other in others:
            around[other] = (around[other] | others) - {node, other}


@cache
def _connected(degree: int) -> tuple[Pattern, ...]:
    """Connected simple graphs with that many edges, from those with one less."""
    if degree == 1:
        return (Pattern(2, ((0, 1),)),)
    classes: dict[Pattern, None] = {}
    for smaller in _connected(degree - 1):
        nodes = smaller.nodes
        inside = [e for e in combinations(range(nodes), 2) if e not in smaller.edges]
        beyond = [(node, nodes) for node in range(nodes) if nodes < MOST_NODES]
        for edge in (*inside, *beyond):
            new = Pattern(max(nodes, edge[1] + 1), (*smaller.edges, edge))
            classes[ordered_form(new)] = None
    return tuple(sorted(classes))


def pair_polynomials(graphs: Graphs, degree: int, row: Tensor, column: Tensor) -> Tensor:
    """[P, K] what PPGN misses up to a degree, at ordered pairs of nodes of one graph.

    Polynomials with two roots stand at their pairs, those with one root on the diagonal, and those
    without roots everywhere.

    Args:
        graphs: by `simple_graphs`.
        degree: largest number of edges, at most 6.
        row, column: [P] the two nodes of every pair.

    Returns:
        [P, K] in float64.

    Raises:
        ValueError: a cost that is too large, counts that are not below 2^53.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
        >>> zero, one = torch.tensor([0, 0]), torch.tensor([0, 2])
        >>> pair_polynomials(simple_graphs(square, 4), 5, zero, one).shape
        torch.Size([2, 1])
    """
    counter, columns = Counter(graphs, advice=ADVICE), []
    key = row_keys([row, column], graphs.num_nodes)
    for size in range(1, degree + 1):
        for pattern in missing_polynomials(size):
            if len(pattern.roots) == 0:
                columns.append(counter.of_graphs(pattern).double()[graphs.batch[row]])
            elif len(pattern.roots) == 1:
                columns.append(counter.of_nodes(pattern).double()[row] * (row == column))
            else:
                pairs, value = counter.of_pairs(pattern)
                columns.append(_at(key, row_keys([pairs[0], pairs[1]], graphs.num_nodes), value))
    return torch.stack(columns, 1) if columns else key.new_zeros(len(key), 0).double()


def _at(key: Tensor, nonzero: Tensor, value: Tensor) -> Tensor:
    """Values that belong to some ascending keys, at other keys."""
    if not len(nonzero):
        return torch.zeros_like(key, dtype=torch.float64)
    place = torch.searchsorted(nonzero, key).clamp(max=len(nonzero) - 1)
    return (value[place] * (nonzero[place] == key)).double()
