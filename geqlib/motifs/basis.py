"""A motif's count as a sum of homomorphism counts, and the WL dimension that follows from it.

A count of subgraphs is a sum of counts of homomorphisms (Lovász): over the partitions rho of the
nodes of P without an edge inside a block,

    sub(P) = 1 / |Aut P|  sum over rho of  prod_B (-1)^(|B| - 1) (|B| - 1)!  hom(P / rho),

and a count of induced subgraphs an alternating sum over the graphs Q that contain P on its nodes,

    ind(P) = sum over Q of (-1)^(|E(Q)| - |E(P)|) |Aut Q| / |Aut P| (such Q) sub(Q).

The folklore WL test of dimension k determines such a sum if and only if all its patterns have
tree-width at most k: Lanzinger and Barceló, "On the power of the Weisfeiler-Leman test for graph
motif parameters" (ICLR 2024).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import comb, factorial, prod
from typing import Literal, get_args

from geqlib.motifs.elimination import best_rooted, elimination
from geqlib.motifs.patterns import Pattern, automorphisms, ordered_form, unordered_form

Kind = Literal["hom", "sub", "induced"]
MOST_INDUCED = 7
GRAPHS_OF_SIZE = (1, 1, 2, 4, 11, 34, 156, 1044)  # of 0 to 7 nodes, up to isomorphism: OEIS A000088
MOST_SUPERGRAPHS = 2**14  # whose homomorphism counts are found in some twenty seconds
Basis = dict[Pattern, Fraction]


def hom_basis(pattern: Pattern, kind: Kind = "sub") -> Basis:
    """The patterns, and their coefficients, whose homomorphism counts add up to a motif's count.

    See the head of this file for the formulas.

    Args:
        pattern: with or without roots; a count at roots is that of the copies of the pattern that
            have the roots at these nodes.
        kind: what is counted: homomorphisms, subgraphs ("sub"; those are the spasm of the pattern),
            or induced subgraphs.

    Returns:
        canonical form -> coefficient, which is not 0.

    Raises:
        ValueError: an unknown kind; an induced pattern of more than 7 nodes, or one that more than
            16384 graphs contain.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> {p.degree: str(factor) for p, factor in sorted(hom_basis(as_pattern("C4")).items())}
        {1: '1/8', 2: '-1/4', 4: '1/8'}
    """
    check_kind(kind)
    if kind == "hom":
        return {ordered_form(pattern): Fraction(1)}
    if kind == "induced":
        _check_supergraphs(pattern)
    terms = _injective(pattern) if kind == "sub" else _induced(pattern)
    symmetry = automorphisms(pattern)
    return {form: Fraction(count, symmetry) for form, count in terms.items() if count}


def check_kind(kind: str) -> None:
    """Refuse a kind of count that is none of `Kind`."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is unknown: choose {', '.join(get_args(Kind))}.")


def _check_supergraphs(pattern: Pattern) -> None:
    """Refuse an induced pattern whose sum has too many terms, before any is computed.

    There are at most 2^(absent edges) graphs that contain the pattern on its nodes, and at most as
    many up to isomorphism as graphs of n nodes times ways to place its roots and labels.
    """
    if pattern.nodes > MOST_INDUCED:
        raise ValueError(
            f"Induced patterns of {pattern.nodes} nodes are sums over all graphs with that many "
            f"nodes: at most {MOST_INDUCED} are supported."
        )
    labels = pattern.labels or (0,) * pattern.nodes
    alike = Counter(labels[node] for node in range(pattern.nodes) if node not in pattern.roots)
    placements = factorial(pattern.nodes) // prod(map(factorial, alike.values()))
    absent = comb(pattern.nodes, 2) - pattern.degree
    terms = min(2**absent, GRAPHS_OF_SIZE[pattern.nodes] * placements)
    if terms > MOST_SUPERGRAPHS:
        raise ValueError(
            f"The induced copies of a pattern of {pattern.nodes} nodes, {pattern.degree} edges and "
            f"{len(pattern.roots)} roots are a sum over up to {terms} graphs that contain it, and "
            f"{MOST_SUPERGRAPHS} are allowed: count subgraphs, smaller patterns, or fewer roots."
        )


@cache
def _injective(pattern: Pattern) -> dict[Pattern, int]:
    """Injective homomorphisms as a sum of homomorphisms."""
    terms: dict[Pattern, int] = defaultdict(int)
    for blocks in _partitions(pattern):
        sign = 1
        for block in blocks:
            sign *= (-1) ** (len(block) - 1) * factorial(len(block) - 1)
        terms[ordered_form(_quotient(pattern, blocks))] += sign
    return dict(terms)


def _induced(pattern: Pattern) -> dict[Pattern, int]:
    """Induced injective homomorphisms as a sum of homomorphisms: supergraphs class by class."""
    terms: dict[Pattern, int] = defaultdict(int)
    supergraphs = {ordered_form(pattern): 1}  # with k further edges, and how many sets of k make it
    for k in range(comb(pattern.nodes, 2) - pattern.degree + 1):
        for form, sets in supergraphs.items():
            for term, value in _injective(form).items():
                terms[term] += (-1) ** k * sets * value
        larger: dict[Pattern, int] = defaultdict(int)
        for form, sets in supergraphs.items():
            for pair in combinations(range(form.nodes), 2):
                if pair not in form.edges:
                    new = Pattern(form.nodes, (*form.edges, pair), form.roots, form.labels)
                    larger[ordered_form(new)] += sets
        # a set of k + 1 edges is reached from each of its edges, as the last one
        supergraphs = {form: sets // (k + 1) for form, sets in larger.items()}
    return dict(terms)


def _partitions(pattern: Pattern) -> Iterator[list[list[int]]]:
    """Partitions of the nodes into blocks of equal labels, without edges or two roots in one."""
    around, roots = pattern.neighbours, set(pattern.roots)
    labels = pattern.labels or (0,) * pattern.nodes

    def joins(node: int, block: list[int]) -> bool:
        alone = not roots & {node} or not roots & set(block)
        return alone and labels[block[0]] == labels[node] and not around[node] & set(block)

    def extended(blocks: list[list[int]], node: int) -> Iterator[list[list[int]]]:
        if node == pattern.nodes:
            yield blocks
            return
        for k, block in enumerate(blocks):
            if joins(node, block):
                yield from extended([*blocks[:k], [*block, node], *blocks[k + 1 :]], node + 1)
        yield from extended([*blocks, [node]], node + 1)

    return extended([], 0)


def _quotient(pattern: Pattern, blocks: list[list[int]]) -> Pattern:
    """P / rho: a node for every block, in place of its nodes."""
    number = {node: k for k, block in enumerate(blocks) for node in block}
    edges = {(min(a, b), max(a, b)) for a, b in ((number[i], number[j]) for i, j in pattern.edges)}
    labels = tuple(pattern.labels[block[0]] for block in blocks) if pattern.labels else ()
    roots = tuple(number[root] for root in pattern.roots)
    return Pattern(len(blocks), tuple(edges), roots, labels)


def treewidth(pattern: Pattern) -> int:
    """Exact tree-width, by brute force; with roots, of the pattern with edges between all roots.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> [treewidth(as_pattern(name)) for name in ("P4", "C5", "K4")]
        [1, 2, 3]
    """
    if pattern.roots:
        joined = {*pattern.edges, *combinations(sorted(pattern.roots), 2)}
        pattern = Pattern(pattern.nodes, tuple(joined))
    parts = (ordered_form(pattern.induced(part)) for part in pattern.components())
    return max(elimination(unordered_form(best_rooted(part))[0]).width for part in parts)


def wl_dimension(pattern: Pattern, kind: Kind = "sub") -> int:
    """The smallest k for which the folklore k-dimensional WL test determines a motif's count.

    1 is colour refinement, the bound of message passing; 2 is the bound of PPGN. The result is at
    least 1: message passing determines every count of nodes.

    Args:
        pattern: with roots, whose count at these nodes is asked for, tree-widths are those with the
            roots joined to each other.
        kind: whether homomorphisms, subgraphs or induced subgraphs are counted.

    Raises:
        ValueError: as `hom_basis`.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> wl_dimension(as_pattern("C7")), wl_dimension(as_pattern("C8"))
        (2, 3)
        >>> wl_dimension(as_pattern("C7"), "induced")
        6
    """
    check_kind(kind)
    if kind == "induced" and not pattern.roots:  # the complete graph is among the patterns
        return max(pattern.nodes - 1, 1)
    return max(1, *(treewidth(form) for form in hom_basis(pattern, kind)))
