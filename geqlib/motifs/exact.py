"""Which graphs of a pair do exact features separate, compared as whole numbers, without training?

Colours are refined until their number stays the same: 1-WL by the multiset of (colour of the pair,
colour of the other node) around every node, folklore 2-WL by that of (colour of u-w, colour of w-v)
over all w for every pair of nodes. Multisets are compared by sums of random numbers modulo 2^64,
where a collision can hide a difference and never make one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.homomorphisms import Counter
from geqlib.motifs.orbits import orbit_adjacencies
from geqlib.motifs.patterns import as_pattern
from geqlib.motifs.polynomials import pair_polynomials

SMALLEST_CLIQUE, LARGEST_CLIQUE = 3, 6  # nodes
Colours = list[np.ndarray]


@dataclass(frozen=True)
class ComparedGraphs:
    """The two graphs of a pair and a copy of each, as one batch.

    Args:
        counter: of motifs.
        row, column: all ordered pairs of nodes, graph by graph.
        sizes: nodes of each graph.
        kind: [N] of each node, from 0.
    """

    counter: Counter
    row: torch.Tensor
    column: torch.Tensor
    sizes: tuple[int, ...]
    kind: torch.Tensor

    def matrices(self, values: torch.Tensor) -> Colours:
        """[n, n] numbers of the different rows of values [P, ...], the same in all four graphs."""
        table = values.reshape(len(values), -1).numpy()
        kinds = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
        parts = np.split(kinds, np.cumsum([n * n for n in self.sizes])[:-1])
        return [part.reshape(n, n) for part, n in zip(parts, self.sizes, strict=True)]


def compared_graphs(
    edges: Sequence[np.ndarray], sizes: Sequence[int], kinds: Sequence[np.ndarray] | None = None
) -> ComparedGraphs:
    """The batch of the two graphs of a pair and a copy of each.

    Args:
        edges: of each of the four graphs [2, E], both directions of every edge.
        sizes: of each, its number of nodes.
        kinds: of each [nodes], from 0; all nodes are of one kind by default.

    Raises:
        ValueError: graphs that are not simple and undirected.

    Example:
        >>> edge = np.array([[0, 1], [1, 0]])
        >>> FEATURES["1-WL"](compared_graphs([edge] * 4, [2, 3, 2, 3]))
        True
    """
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    joined = np.concatenate([e + s for e, s in zip(edges, ptr, strict=False)], 1)
    batch = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    pairs = [np.indices((n, n)).reshape(2, -1) + s for n, s in zip(sizes, ptr, strict=False)]
    row, column = torch.from_numpy(np.concatenate(pairs, 1))
    simple = simple_graphs(torch.from_numpy(joined), int(ptr[-1]), batch, 4)
    none = np.zeros(ptr[-1], np.int64)
    kind = torch.from_numpy(none if kinds is None else np.concatenate(kinds).astype(np.int64))
    return ComparedGraphs(Counter(simple), row, column, tuple(sizes), kind)


def adjacency(batch: ComparedGraphs) -> torch.Tensor:
    """[P, 2] edge or not, and the kind of the node from 1, or 0 for two nodes."""
    nodes = batch.counter.graphs.num_nodes
    source, target = batch.counter.graphs.edge_index
    edge = torch.isin(batch.row * nodes + batch.column, source * nodes + target)
    node = (batch.kind[batch.row] + 1) * (batch.row == batch.column)
    return torch.stack([edge.long(), node], 1)


def colour_refinement(batch: ComparedGraphs) -> bool | None:
    """1-WL."""
    return _refined_nodes(batch.matrices(adjacency(batch)))


def graphlet_degrees(batch: ComparedGraphs) -> bool | None:
    """1-WL, from sums of orbit adjacencies over rows as colours of nodes."""
    pairs, counts = orbit_adjacencies(batch.counter.graphs)
    degrees = counts.new_zeros(batch.counter.graphs.num_nodes, counts.size(1))
    degrees.index_add_(0, pairs[0], counts)
    same = (batch.row == batch.column)[:, None]
    values = torch.cat([adjacency(batch), degrees[batch.row] * same], 1)
    return _refined_nodes(batch.matrices(values))


def orbits(batch: ComparedGraphs) -> bool | None:
    """1-WL, from orbit adjacencies as colours of pairs."""
    pairs, counts = orbit_adjacencies(batch.counter.graphs)
    nodes = batch.counter.graphs.num_nodes
    key, every = pairs[0] * nodes + pairs[1], batch.row * nodes + batch.column
    values = counts.new_zeros(len(every), counts.size(1))
    values[torch.searchsorted(every, key)] = counts
    return _refined_nodes(batch.matrices(torch.cat([adjacency(batch), values], 1)))


def folklore(batch: ComparedGraphs) -> bool | None:
    """Folklore 2-WL, the bound of PPGN."""
    return _refined_pairs(batch.matrices(adjacency(batch)))


def with_q5(batch: ComparedGraphs) -> bool | None:
    """Folklore 2-WL, from the polynomial of degree 5 that PPGN does not compute."""
    return _refined_pairs(batch.matrices(_polynomials(batch, 5)))


def with_degree_6(batch: ComparedGraphs) -> bool | None:
    """Folklore 2-WL, from all polynomials up to degree 6 that PPGN does not compute."""
    return _refined_pairs(batch.matrices(_polynomials(batch, 6)))


def cliques(batch: ComparedGraphs) -> bool | None:
    """Numbers of complete subgraphs of 3 to 6 nodes."""
    sizes = range(SMALLEST_CLIQUE, LARGEST_CLIQUE + 1)
    counts = [batch.counter.of_graphs(as_pattern(f"K{size}")) for size in sizes]
    return outcome(list(torch.stack(counts, 1).numpy()))


def with_q5_and_cliques(batch: ComparedGraphs) -> bool | None:
    """Whether one of the two separates them."""
    outcomes = with_q5(batch), cliques(batch)
    return None if None in outcomes else any(outcomes)


# name -> whether the two graphs differ; None if a graph differs from its copy
FEATURES: dict[str, Callable[[ComparedGraphs], bool | None]] = {
    "1-WL": colour_refinement,
    "graphlet degrees, 1-WL": graphlet_degrees,
    "28 orbit adjacencies, 1-WL": orbits,
    "cliques": cliques,
    "folklore 2-WL": folklore,
    "folklore 2-WL, Q5": with_q5,
    "folklore 2-WL, degree 6": with_degree_6,
    "folklore 2-WL, Q5, cliques": with_q5_and_cliques,
}


def check_name(name: str) -> None:
    """Refuse the name of features that are none of `FEATURES`.

    Example:
        >>> check_name("3-WL")
        Traceback (most recent call last):
        ...
        ValueError: There are no exact features '3-WL': choose from 1-WL; graphlet degrees, 1-WL; \
28 orbit adjacencies, 1-WL; cliques; folklore 2-WL; folklore 2-WL, Q5; folklore 2-WL, degree 6; \
folklore 2-WL, Q5, cliques.
    """
    if name not in FEATURES:
        raise ValueError(
            f"There are no exact features {name!r}: choose from {'; '.join(FEATURES)}."
        )


def _polynomials(batch: ComparedGraphs, degree: int) -> torch.Tensor:
    """[P, 2 + K] adjacency and the polynomials that PPGN does not compute."""
    graphs = batch.counter.graphs
    values = pair_polynomials(graphs, degree, batch.row, batch.column)
    return torch.cat([adjacency(batch), values.long()], 1)


def _refined_pairs(colours: Colours) -> bool | None:
    """Folklore 2-WL from these colours of pairs."""
    rng, count = np.random.default_rng(0), 0
    while outcome(_histograms(colours)) is False and _kinds(colours) > count:
        count = _kinds(colours)
        left, right = rng.integers(0, 2**63, (2, count)).astype(np.uint64)
        colours = _recoloured(colours, [left[c] @ right[c] for c in colours])
    return outcome(_histograms(colours))


def _refined_nodes(pairs: Colours) -> bool | None:
    """1-WL on a complete graph whose edges have these colours, and its nodes those of loops."""
    rng, count = np.random.default_rng(0), 0
    signs = rng.integers(0, 2**63, _kinds(pairs)).astype(np.uint64)
    hashed, colours = [signs[c] for c in pairs], [np.diagonal(c) for c in pairs]
    while (
        outcome(_histograms(colours)) is False and len(np.unique(np.concatenate(colours))) > count
    ):
        count = len(np.unique(np.concatenate(colours)))
        other = rng.integers(0, 2**63, _kinds(colours)).astype(np.uint64)
        around = [h @ other[c] for h, c in zip(hashed, colours, strict=True)]
        colours = _recoloured(colours, around)
    return outcome(_histograms(colours))


def _kinds(colours: Colours) -> int:
    return 1 + max(int(c.max()) for c in colours)


def _recoloured(colours: Colours, around: Sequence[np.ndarray]) -> Colours:
    """Numbers of the different (colour, sum around), the same in all graphs."""
    old = np.concatenate([c.reshape(-1) for c in colours])
    signs = np.random.default_rng(1).integers(0, 2**63, _kinds(colours)).astype(np.uint64)
    new = np.concatenate([a.reshape(-1) for a in around])
    kinds = np.unique(signs[old] + new, return_inverse=True)[1].reshape(-1)
    parts = np.split(kinds, np.cumsum([c.size for c in colours])[:-1])
    return [part.reshape(c.shape) for part, c in zip(parts, colours, strict=True)]


def _histograms(colours: Colours) -> Colours:
    return [np.bincount(c.reshape(-1), minlength=_kinds(colours)) for c in colours]


def outcome(features: Sequence[np.ndarray]) -> bool | None:
    """Whether the two graphs differ; None if a graph differs from its copy."""
    one, two, copy_one, copy_two = features
    if not (np.array_equal(one, copy_one) and np.array_equal(two, copy_two)):
        return None
    return not np.array_equal(one, two)
