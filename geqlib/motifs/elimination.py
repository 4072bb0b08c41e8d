"""Plans of counts: the cheapest order in which the nodes of a pattern are eliminated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from geqlib.motifs.patterns import Pattern, ordered_form, unordered_form

EDGE = Pattern(2, ((0, 1),), roots=(0, 1))


@dataclass(frozen=True)
class Elimination:
    """The count of a rooted pattern as a sum of products of smaller counts.

    Without its roots and one further node v, the pattern falls into components C. Let N(C) be the
    neighbours of C, which are among the roots and v. Then

        hom(H) = sum over v of prod_ij A[i, j] prod_C hom(H[C + N(C)] with the roots N(C)),

    where ij are the edges of H among the roots and v. Those with both ends in N(C) are edges of
    H[C + N(C)] as well, which changes nothing, as A[i, j]^2 = A[i, j], and keeps the table of the
    component short: it has no rows where they are missing.

    Args:
        parts: the smaller patterns; with each the numbers of its roots among the nodes of H that
            are fixed at once: 0, 1, ... are the roots of H, and the last number is v.
        scope: number of nodes that are fixed at once: the roots and v.
        width: tree-width of the pattern with an edge between every two roots.
        steps: for every sum, the number of nodes fixed at once, the number of nodes of the pattern
            and the pattern.
    """

    parts: tuple[tuple[Pattern, tuple[int, ...]], ...]
    scope: int
    width: int
    steps: frozenset[tuple[int, int, Pattern]]


@cache
def elimination(pattern: Pattern) -> Elimination:
    """The cheapest way to count a pattern in canonical form with at least one root.

    All ways are compared: by their width, then by the number of sums over the largest number of
    nodes fixed at once.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> elimination(unordered_form(as_pattern("C5").rooted(0))[0]).width
        2
    """
    roots, free = pattern.roots, pattern.components(without=pattern.roots)
    whole = len(free) == 1 and _around(pattern, free[0]) == roots
    choices = [(*roots, v) for v in free[0]] if whole else [roots]
    return min((_eliminated(pattern, scope) for scope in choices), key=_cost)


def _eliminated(pattern: Pattern, scope: tuple[int, ...]) -> Elimination:
    number = {node: k for k, node in enumerate(scope)}
    parts: list[tuple[Pattern, tuple[int, ...]]] = []
    width, steps = len(scope) - 1, {(len(scope), pattern.nodes, pattern)}
    for i, j in combinations(scope, 2):
        if j in pattern.neighbours[i]:
            parts.append((EDGE, (number[i], number[j])))
    for node in scope if pattern.labels else ():
        one = Pattern(1, (), (0,), (pattern.labels[node],))
        parts.append((one, (number[node],)))
    for component in pattern.components(without=scope):
        border = _around(pattern, component)
        nodes = (*border, *component)
        form, order = unordered_form(pattern.induced(nodes, border))
        parts.append((form, tuple(number[nodes[k]] for k in order[: len(border)])))
        inner = elimination(form)
        width, steps = max(width, inner.width), steps | inner.steps
    return Elimination(tuple(parts), len(scope), width, frozenset(steps))


def _around(pattern: Pattern, component: Sequence[int]) -> tuple[int, ...]:
    """The neighbours of the nodes of a component outside of it, sorted."""
    around = set().union(*(pattern.neighbours[node] for node in component))
    return tuple(sorted(around - set(component)))


def _cost(choice: Elimination) -> tuple[int, int, int]:
    return choice.width, sum(64**scope for scope, _, _ in choice.steps), len(choice.parts)


@cache
def best_rooted(pattern: Pattern) -> Pattern:
    """A connected pattern with the root around which counting is cheapest; as it is with roots.

    Example:
        >>> from geqlib.motifs.patterns import as_pattern
        >>> best_rooted(as_pattern("star3")).roots
        (0,)
    """
    if pattern.roots:
        return pattern
    choices = [pattern.rooted(node) for node in range(pattern.nodes)]

    def cost(choice: Pattern) -> tuple:
        form = unordered_form(choice)[0]
        return *_cost(elimination(form)), form.edges

    return min(choices, key=cost)


def parts_with_roots(pattern: Pattern) -> list[Pattern]:
    """The components of a pattern, in canonical form where they have no roots."""
    parts = [
        pattern.induced(nodes, [root for root in pattern.roots if root in nodes])
        for nodes in pattern.components()
    ]
    return [part if part.roots else ordered_form(part) for part in parts]
