"""Monoid aggregation as slowly and plainly as possible: one set, one pair at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from geqlib.monoid.operators import Operator

Node = Any  # an element's Tensor, or a pair of nodes


def tree(elements: Sequence[Node]) -> Node:
    """Join neighbours, an odd last one waits, until one is left."""
    if len(elements) == 1:
        return elements[0]
    pairs = list(zip(elements[::2], elements[1::2], strict=False))
    waiting = elements[-1:] if len(elements) % 2 else []
    return tree([*pairs, *waiting])


def value(node: Node, f: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    if isinstance(node, Tensor):
        return node
    left, right = (value(x, f)[None] for x in node)
    return f(left, right)[0]


def aggregate(operator: Operator, x: Tensor, index: Tensor, num_sets: int) -> Tensor:
    """Sets one by one, their elements in the order in which they stand."""
    results = []
    for i in range(num_sets):
        state = operator.encode(x[index == i])
        actual = value(tree(list(state)), operator) if len(state) else operator.identity(state)
        results.append(operator.decode(actual[None])[0])
    return torch.stack(results) if results else x.new_zeros(0, operator.out_channels)


def triples(node: Node, f: Callable[[Tensor, Tensor], Tensor]) -> list[tuple[Tensor, ...]]:
    """(a, b, c) and (b, c, d) of every ((a, b), (c, d)), (a, b, c) of every ((a, b), c).

    A right partner of a lower level than its sibling had been waiting: it counts as one element c.
    """
    if isinstance(node, Tensor):
        return []
    left, right = node
    actual = triples(left, f) + triples(right, f)
    if isinstance(left, Tensor):
        return actual
    if height(right) == height(left):
        parts = [value(x, f) for x in (*left, *right)]
        return [*actual, tuple(parts[:3]), tuple(parts[1:])]
    return [*actual, (value(left[0], f), value(left[1], f), value(right, f))]


def height(node: Node) -> int:
    return 0 if isinstance(node, Tensor) else 1 + max(height(x) for x in node)


def associativity_loss(operator: Operator, x: Tensor, index: Tensor, num_sets: int) -> Tensor:
    def f(a: Tensor, b: Tensor) -> Tensor:
        return operator(a[None], b[None])[0]

    sets = [list(operator.encode(x[index == i])) for i in range(num_sets)]
    actual = [t for elements in sets if elements for t in triples(tree(elements), operator)]
    errors = [(f(f(a, b), c) - f(a, f(b, c))).square().sum() for a, b, c in actual]
    return torch.stack(errors).mean()
