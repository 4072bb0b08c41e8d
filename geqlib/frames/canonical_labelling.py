"""Canonical labellings: the same numbers for the nodes of a graph, however it is given.

Individualisation and refinement (McKay, "Practical graph isomorphism", Congressus Numerantium 30,
1981): colours are refined by those of the neighbours until nothing changes; where nodes still share
a colour each of them in turn gets one of its own, and so on down a tree whose leaves are
labellings. The leaf with the greatest certificate wins. Two leaves with equal certificates give an
automorphism, and branches that automorphisms map to explored ones are left out.

Connected components are labelled one by one and then sorted, those first of which colour refinement
leaves most nodes alike: their numbers do not depend on what else is in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = np.ndarray
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Labelling:
    """A canonical labelling of a graph.

    Args:
        order: [n] the node at each place.
        orbit: [n] the first node of each node's orbit under automorphisms.
        certificate: equal for two graphs exactly if they are isomorphic, colours included.
    """

    order: Array
    orbit: Array
    certificate: bytes


def canonical_labelling(
    edge_index: Array,
    num_nodes: int,
    colour: Array | None = None,
    edge_colour: Array | None = None,
    *,
    limit: int = 100_000,
) -> Labelling:
    """Number the nodes of a directed graph in a way that depends on its isomorphism class alone.

    Args:
        edge_index: [2, E].
        num_nodes: n.
        colour: [n] integers that labellings must keep; lower colours come first.
        edge_colour: [E] integers of the edges.
        limit: how many refinements the search may take.

    Raises:
        ValueError: a search that takes more, as on large strongly regular graphs.

    Example:
        >>> path = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> labelling = canonical_labelling(path, 3)
        >>> labelling.orbit.tolist()
        [0, 1, 0]
        >>> copy = canonical_labelling(np.array([[2, 0, 0, 1], [0, 2, 1, 0]]), 3)
        >>> copy.certificate == labelling.certificate
        True
    """
    kinds = np.zeros(num_nodes, np.int64) if colour is None else np.asarray(colour, np.int64)
    lines = np.zeros(edge_index.shape[1], np.int64) if edge_colour is None else edge_colour
    edges, lines, parts = np.asarray(edge_index), np.asarray(lines, np.int64), []
    for nodes, own in _components(edges, num_nodes):
        search = _Search(np.searchsorted(nodes, edges[:, own]), lines[own], kinds[nodes], limit)
        start = search.refined(_ranks(search.kinds))
        search.explore(start, [], [])
        alike = len(nodes) - len(np.unique(start))
        parts.append((-alike, -len(nodes), search.certificate, nodes[search.best], search, nodes))
    parts.sort(key=lambda part: part[:3])
    order, orbit = np.zeros(0, np.int64), np.arange(num_nodes)
    first_of: dict[bytes, Array] = {}
    for _, _, certificate, labelled, search, nodes in parts:
        orbit[nodes] = nodes[search.orbits([])]
        first = first_of.setdefault(certificate, labelled)  # equal components exchange their nodes
        orbit[labelled] = orbit[first]
        order = np.concatenate([order, labelled])
    certificates = b"".join(part[2] for part in parts)
    return Labelling(order, _lowest(orbit), certificates)


def _components(edges: Array, n: int) -> list[tuple[Array, Array]]:
    """Nodes, ascending, and numbers of edges of each connected component."""
    ones = np.ones(edges.shape[1], np.int8)
    count, label = connected_components(coo_array((ones, (edges[0], edges[1])), shape=(n, n)))
    if count == 1:
        return [(np.arange(n), np.arange(edges.shape[1]))]
    return [
        (np.flatnonzero(label == k), np.flatnonzero(label[edges[0]] == k)) for k in range(count)
    ]


def _lowest(orbit: Array) -> Array:
    """Each class called by its first node."""
    _, first, inverse = np.unique(orbit, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


@dataclass
class _Search:
    edge_index: Array
    edge_colour: Array
    kinds: Array
    limit: int
    best: Array = field(init=False)
    certificate: bytes = b""
    path: list[int] = field(default_factory=list)  # to the best leaf
    traces: list[int] = field(default_factory=list)  # along it
    generators: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.kinds)
        self.best = np.zeros(0, np.int64)
        self.weight = np.zeros((n, n), np.uint64)
        mixed = _mix(self.edge_colour.astype(np.uint64)) | np.uint64(1)
        np.add.at(self.weight, (self.edge_index[1], self.edge_index[0]), mixed)
        self.symmetric = np.array_equal(self.weight, self.weight.T)

    def refined(self, colour: Array) -> Array:
        """Colours refined until stable; a colour is the number of nodes of lower colours."""
        cells = len(np.unique(colour))
        while cells < len(colour):
            self.limit -= 1
            if self.limit < 0:
                raise ValueError(
                    f"the canonical labelling of a graph with {len(colour)} nodes takes too long: "
                    "raise `limit`, or average over a sample of orders instead."
                )
            seen = _mix(colour.astype(np.uint64))
            around = self.weight @ seen
            if not self.symmetric:
                around = _mix(around) + self.weight.T @ seen
            colour = _ranks(colour, around)
            before, cells = cells, len(np.unique(colour))
            if cells == before:
                break
        return colour

    def explore(self, colour: Array, path: list[int], traces: list[int]) -> int:
        """Search below a node of the tree; returns the depth at which to go on."""
        starts, count = np.unique(colour, return_counts=True)
        if len(starts) == len(colour):
            return self._leaf(colour, path, traces)
        open_ = starts[count > 1]
        cell = open_[count[count > 1].argmin()]
        tried: list[int] = []
        for v in np.flatnonzero(colour == cell).tolist():
            if tried and self._in_tried_orbit(v, tried, path):
                continue
            tried.append(v)
            split = colour.copy()
            split[colour == cell] += 1
            split[v] = cell
            split = self.refined(split)
            trace = [*traces, self._trace(split)]
            depth = len(trace)
            if len(self.best) and trace < self.traces[:depth]:
                continue
            back = self.explore(split, [*path, v], trace)
            if back < len(path):
                return back
        return len(path)

    def orbits(self, fixed: list[int]) -> Array:
        """[n] the first node of each orbit under the known automorphisms that fix some nodes."""
        orbit = np.arange(len(self.kinds))
        moves = [g for g in self.generators if all(g[v] == v for v in fixed)]
        changed = True
        while changed and moves:
            before = orbit.copy()
            for g in moves:
                low = np.minimum(orbit, orbit[g])
                np.minimum.at(low, g, orbit)
                orbit = low
            changed = not np.array_equal(before, orbit)
        return orbit

    def _in_tried_orbit(self, v: int, tried: list[int], path: list[int]) -> bool:
        orbit = self.orbits(path)
        return bool((orbit[tried] == orbit[v]).any())

    def _trace(self, colour: Array) -> int:
        """A number that isomorphic nodes of the tree share."""
        with np.errstate(over="ignore"):
            seen = _mix(colour.astype(np.uint64))
            total = (seen * _mix(self.weight @ seen + _ODD)).sum(dtype=np.uint64)
        return int(total)

    def _leaf(self, colour: Array, path: list[int], traces: list[int]) -> int:
        order = colour.argsort()
        certificate = self._certificate(colour, order)
        if len(self.best) and traces == self.traces and certificate == self.certificate:
            automorphism = np.empty_like(order)
            automorphism[self.best] = order
            self.generators.append(automorphism)
            pairs = zip(path, self.path, strict=False)
            return next((k for k, (a, b) in enumerate(pairs) if a != b), len(path))
        if not len(self.best) or (traces, certificate) > (self.traces, self.certificate):
            self.best, self.certificate = order, certificate
            self.path, self.traces = path, traces
        return len(path)

    def _certificate(self, colour: Array, order: Array) -> bytes:
        ends = colour[self.edge_index]
        rows = np.stack([ends[0], ends[1], self.edge_colour])
        rows = rows[:, np.lexsort(rows[::-1])]
        parts = [len(order)], self.kinds[order], rows.ravel()
        return np.concatenate(parts).astype(np.int64).tobytes()


def _ranks(*keys: Array) -> Array:
    """For each row, how many rows are smaller by the first key, then the second, and so on."""
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), bool)
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0)) if len(order) else order
    ranks = np.empty(len(order), np.int64)
    ranks[order] = start
    return ranks


def _mix(x: Array) -> Array:
    """Scrambled integers modulo 2^64 (Stafford's variant of MurmurHash3's finaliser)."""
    x = x + _ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
