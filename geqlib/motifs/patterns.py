"""Patterns: small simple graphs, some nodes of which may be roots, and when two are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations
from numbers import Integral

import networkx as nx

MOST_NODES = 8
Edges = tuple[tuple[int, int], ...]
NAMED: dict[str, Edges] = {
    "diamond": ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)),
    "paw": ((0, 1), (0, 2), (1, 2), (2, 3)),
}
WAYS_TO_SAY = (
    'C5 (a cycle), P4 (a path of 4 nodes), K4, star3, diamond, paw, or edges such as "0-1,1-2,2-0"'
)


@dataclass(frozen=True, order=True)
class Pattern:
    """A simple undirected graph of at most 8 nodes, with roots and labels.

    Args:
        nodes: number of nodes, counted from 0.
        edges: pairs of different nodes, each pair once.
        roots: different nodes whose images are fixed; their order matters.
        labels: an integer for each node, or nothing for graphs without labels.

    Raises:
        ValueError: loops, parallel edges, nodes that do not exist, too many nodes.

    Example:
        >>> Pattern(3, ((1, 0), (1, 2)), roots=(0,))
        Pattern(nodes=3, edges=((0, 1), (1, 2)), roots=(0,), labels=())
    """

    nodes: int
    edges: Edges
    roots: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_size(self.nodes)
        roots, labels = tuple(self.roots), tuple(self.labels)
        for edge in self.edges:
            if len(edge) != 2 or not all(isinstance(node, Integral) for node in edge):
                raise ValueError(
                    f"The edge {edge} of a pattern is no pair of integers: correct it."
                )
        edges = tuple(sorted((min(edge), max(edge)) for edge in self.edges))
        for i, j in edges:
            if i == j:
                raise ValueError(f"A pattern is a simple graph, but node {i} has a loop: drop it.")
            if not 0 <= i < j < self.nodes:
                raise ValueError(f"The pattern has an edge {i}-{j}, but {self.nodes} nodes from 0.")
        if len(set(edges)) < len(edges):
            raise ValueError("A pattern is a simple graph, but an edge occurs twice: drop one.")
        if len(set(roots)) < len(roots) or not set(roots) <= set(range(self.nodes)):
            raise ValueError(
                f"roots {roots} are not different nodes of the pattern: name each once, from 0 to "
                f"{self.nodes - 1}."
            )
        if len(labels) not in (0, self.nodes):
            raise ValueError(
                f"The pattern has {self.nodes} nodes and {len(labels)} labels: label all of its "
                "nodes or none."
            )
        for label in labels:
            if isinstance(label, bool) or not isinstance(label, Integral):
                raise ValueError(
                    f"The pattern has the label {label!r}, and labels are integers, as those of "
                    "the graphs: number them."
                )
        # what was passed may be lists or of numpy, and patterns are keys
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "roots", tuple(map(int, roots)))
        object.__setattr__(self, "labels", tuple(map(int, labels)))

    @property
    def neighbours(self) -> tuple[frozenset[int], ...]:
        """Of each node, the nodes that it is joined to."""
        around: list[set[int]] = [set() for _ in range(self.nodes)]
        for i, j in self.edges:
            around[i].add(j)
            around[j].add(i)
        return tuple(map(frozenset, around))

    @property
    def degree(self) -> int:
        """The number of edges, which is the degree of the pattern as a polynomial."""
        return len(self.edges)

    def rooted(self, *roots: int) -> Pattern:
        """The same pattern with other roots."""
        return replace(self, roots=roots)

    def induced(self, nodes: Sequence[int], roots: Sequence[int] = ()) -> Pattern:
        """The pattern on some nodes, which are numbered in this order."""
        number = {node: k for k, node in enumerate(nodes)}
        edges = tuple((number[i], number[j]) for i, j in self.edges if {i, j} <= number.keys())
        labels = tuple(self.labels[node] for node in nodes) if self.labels else ()
        return Pattern(len(nodes), edges, tuple(number[root] for root in roots), labels)

    def components(self, without: Sequence[int] = ()) -> list[tuple[int, ...]]:
        """Sorted nodes of the connected components that remain when some nodes are removed."""
        left, parts, around = set(range(self.nodes)) - set(without), [], self.neighbours
        while left:
            part, new = set(), {min(left)}
            while new:
                part |= new
                new = {j for i in new for j in around[i]} & left - part
            parts.append(tuple(sorted(part)))
            left -= part
        return parts


def _check_size(nodes: int) -> None:
    if isinstance(nodes, bool) or not isinstance(nodes, Integral):
        raise ValueError(f"A pattern has a whole number of nodes, and not {nodes!r}: correct it.")
    if nodes < 1:
        raise ValueError("A pattern has at least one node, and this one has none: add a node.")
    if nodes > MOST_NODES:
        raise ValueError(
            f"A pattern has 1 to {MOST_NODES} nodes, and this one has {nodes}: orders of "
            "elimination are searched by brute force, so count a smaller one."
        )


def as_pattern(value: Pattern | nx.Graph | str) -> Pattern:
    """A pattern from its name, its edges as text, or a graph of networkx.

    Args:
        value: such as "C5", "P4", "K4", "star3", "diamond", "paw" or "0-1,1-2,2-0"; or a graph of
            networkx, whose node attribute "label" becomes the labels.

    Raises:
        ValueError: text or anything else that means no pattern; graphs that are directed or not
            simple.

    Example:
        >>> as_pattern("C4").edges
        ((0, 1), (0, 3), (1, 2), (2, 3))
        >>> as_pattern("0-1,1-2") == as_pattern("P3")
        True
    """
    if isinstance(value, Pattern):
        return value
    if isinstance(value, nx.Graph):
        return _from_networkx(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no pattern: write {WAYS_TO_SAY}.")
    if value in NAMED:
        edges = NAMED[value]
        return Pattern(1 + max(map(max, edges)), edges)
    if family := re.fullmatch(r"(C|P|K|star)([0-9]+)", value):
        return _of_family(family[1], int(family[2]))
    if re.fullmatch(r"[0-9]+-[0-9]+([, ]+[0-9]+-[0-9]+)*", value):
        pairs = [tuple(map(int, pair.split("-"))) for pair in re.split(r"[, ]+", value)]
        named = {node for pair in pairs for node in pair}
        unnamed = next((node for node in range(max(named)) if node not in named), None)
        if unnamed is not None:
            raise ValueError(
                f"In {value!r} no edge has node {unnamed}: number the nodes of a pattern from 0 "
                "without gaps."
            )
        return Pattern(1 + max(map(max, pairs)), tuple((i, j) for i, j in pairs))
    raise ValueError(f"{value!r} is no pattern: write {WAYS_TO_SAY}.")


def _of_family(kind: str, size: int) -> Pattern:
    smallest = {"C": 3, "P": 1, "K": 1, "star": 1}[kind]
    if size < smallest:
        raise ValueError(f"{kind}{size} is no simple graph: the smallest is {kind}{smallest}.")
    _check_size(size + (kind == "star"))
    if kind == "K":
        return Pattern(size, tuple(combinations(range(size), 2)))
    if kind == "star":
        return Pattern(size + 1, tuple((0, leaf) for leaf in range(1, size + 1)))
    path = tuple((k, k + 1) for k in range(size - 1))
    return Pattern(size, path + ((0, size - 1),) * (kind == "C"))


def _from_networkx(graph: nx.Graph) -> Pattern:
    if graph.is_directed() or graph.is_multigraph():
        raise ValueError(
            "A pattern is an undirected simple graph, and this is a "
            f"{type(graph).__name__}: convert it with networkx.Graph(graph)."
        )
    number = {node: k for k, node in enumerate(graph)}
    labels = [graph.nodes[node]["label"] for node in graph if "label" in graph.nodes[node]]
    edges = tuple((number[i], number[j]) for i, j in graph.edges)
    return Pattern(len(graph), edges, labels=tuple(labels))


def ordered_form(pattern: Pattern) -> Pattern:
    """The same for all patterns that are isomorphic, roots going to roots in their order.

    Example:
        >>> ordered_form(as_pattern("0-1,1-2")) == ordered_form(as_pattern("0-1,0-2"))
        True
    """
    order = canonical_order(pattern, ordered=True)
    return pattern.induced(order, pattern.roots)


@cache
def unordered_form(pattern: Pattern) -> tuple[Pattern, tuple[int, ...]]:
    """The same for all patterns that are isomorphic, roots going to roots in any order.

    Returns:
        The form, whose roots are 0, 1, ..., and the node of the pattern behind each of its nodes.
    """
    order = canonical_order(pattern, ordered=False)
    return pattern.induced(order, order[: len(pattern.roots)]), order


@cache
def canonical_order(pattern: Pattern, ordered: bool) -> tuple[int, ...]:
    """The nodes in an order that depends on the isomorphism class alone, roots first.

    Colours are refined by those of the neighbours; where several nodes share one, each in turn gets
    a colour of its own, and the smallest list of edges is taken. Of twins, whose exchange is an
    automorphism, one is tried.

    Args:
        pattern: with or without roots and labels.
        ordered: whether roots go to roots in their order, or in any.
    """
    rank = {root: k if ordered else 0 for k, root in enumerate(pattern.roots)}
    labels = pattern.labels or (0,) * pattern.nodes
    start = [(rank.get(node, MOST_NODES), labels[node]) for node in range(pattern.nodes)]
    return _smallest(pattern, _refined(pattern, _ranked(start)))[1]


def _smallest(pattern: Pattern, colours: list[int]) -> tuple[Edges, tuple[int, ...]]:
    """The smallest list of edges among all ways to refine colours until they are different."""
    cells: dict[int, list[int]] = {}
    for node, colour in enumerate(colours):
        cells.setdefault(colour, []).append(node)
    cell = next((cells[colour] for colour in sorted(cells) if len(cells[colour]) > 1), None)
    if cell is None:
        order = tuple(sorted(range(pattern.nodes), key=colours.__getitem__))
        return pattern.induced(order).edges, order
    around = pattern.neighbours
    tried: list[int] = []
    results = []
    for node in cell:
        if any(around[node] - {twin} == around[twin] - {node} for twin in tried):
            continue
        tried.append(node)
        apart = [(colour, other != node) for other, colour in enumerate(colours)]
        results.append(_smallest(pattern, _refined(pattern, _ranked(apart))))
    return min(results)


def _refined(pattern: Pattern, colours: list[int]) -> list[int]:
    around = pattern.neighbours
    while True:
        signatures = [
            (colours[node], tuple(sorted(colours[other] for other in around[node])))
            for node in range(pattern.nodes)
        ]
        finer = _ranked(signatures)
        if len(set(finer)) == len(set(colours)):
            return finer
        colours = finer


def _ranked(signatures: Sequence) -> list[int]:
    rank = {signature: k for k, signature in enumerate(sorted(set(signatures)))}
    return [rank[signature] for signature in signatures]


def automorphisms(pattern: Pattern) -> int:
    """How many automorphisms fix every root.

    Example:
        >>> automorphisms(as_pattern("C5")), automorphisms(as_pattern("C5").rooted(0))
        (10, 2)
    """
    return sum(1 for _ in _automorphisms(pattern))


@cache
def root_images(pattern: Pattern) -> frozenset[tuple[int, ...]]:
    """All nodes that automorphisms of the pattern without its roots send the roots to.

    Example:
        >>> sorted(root_images(as_pattern("P3").rooted(0))), sorted(root_images(as_pattern("K2")))
        ([(0,), (2,)], [()])
    """
    images = _automorphisms(pattern.rooted())
    return frozenset(tuple(image[root] for root in pattern.roots) for image in images)


def _automorphisms(pattern: Pattern) -> Iterator[dict[int, int]]:
    around, labels = pattern.neighbours, pattern.labels or (0,) * pattern.nodes

    def extended(image: dict[int, int]) -> Iterator[dict[int, int]]:
        node = len(image)
        if node == pattern.nodes:
            yield image
            return
        options = (node,) if node in pattern.roots else range(pattern.nodes)
        for other in options:
            same = labels[node] == labels[other] and other not in image.values()
            if same and all((k in around[node]) == (image[k] in around[other]) for k in image):
                yield from extended(image | {node: other})

    return extended({})


def rootings(pattern: Pattern, roots: int) -> list[Pattern]:
    """All ways to choose that many roots, each up to isomorphism: a feature of one for each orbit.

    Example:
        >>> [p.roots for p in rootings(as_pattern("P3"), 1)]
        [(0,), (1,)]
        >>> len(rootings(as_pattern("C5"), 2))
        2
    """
    classes: dict[Pattern, Pattern] = {}
    for chosen in permutations(range(pattern.nodes), roots):
        one = pattern.rooted(*chosen)
        classes.setdefault(ordered_form(one), one)
    return list(classes.values())
