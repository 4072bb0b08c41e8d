"""Counts by enumeration of all maps, all subsets: as slow and plain as can be."""

from __future__ import annotations

import functools
from itertools import combinations, permutations, product

import networkx as nx
import torch
from torch import Tensor

from geqlib.motifs.patterns import Pattern

Counts = dict[tuple[int, ...], int]


def edges_of(graph: nx.Graph) -> Tensor:
    """[2, E] both directions of every edge of a graph whose nodes are 0, 1, ..."""
    pairs = list(nx.convert_node_labels_to_integers(graph, ordering="sorted").to_directed().edges)
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T


def homomorphisms(
    pattern: Pattern, graph: nx.Graph, injective: bool = False, induced: bool = False
) -> Counts:
    """Nodes that the roots go to -> number of maps."""
    counts: Counts = {}
    nodes, edges = range(len(graph)), set(pattern.edges)
    joined = [[graph.has_edge(u, v) for v in nodes] for u in nodes]
    # pairs of nodes of the pattern whose images must be joined, and those that must not
    pairs = [(i, j, (i, j) in edges) for i, j in combinations(range(pattern.nodes), 2)]
    pairs = pairs if induced else [pair for pair in pairs if pair[2]]
    injective = injective or induced
    maps = permutations(nodes, pattern.nodes) if injective else product(nodes, repeat=pattern.nodes)
    for image in maps:
        if all(joined[image[i]][image[j]] == edge for i, j, edge in pairs):
            key = tuple(image[root] for root in pattern.roots)
            counts[key] = counts.get(key, 0) + 1
    return counts


def orbits(graph: nx.Graph) -> Counts:
    """(node, node, hops, orbit, orbit) -> number of graphlets of 2 to 4 nodes."""
    counts: Counts = {}
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            pairs = combinations(range(size), 2)
            edges = tuple((i, j) for i, j in pairs if graph.has_edge(nodes[i], nodes[j]))
            for i, j, *kind in _orbits_of_pairs(size, edges):
                key = (nodes[i], nodes[j], *kind)
                counts[key] = counts.get(key, 0) + 1
    return counts


@functools.cache
def _orbits_of_pairs(size: int, edges: tuple[tuple[int, int], ...]) -> list[tuple[int, ...]]:
    """(node, node, hops, orbit, orbit) of each pair of a graphlet; none if it is not connected."""
    part = nx.empty_graph(size)
    part.add_edges_from(edges)
    if not nx.is_connected(part):
        return []
    hops = dict(nx.all_pairs_shortest_path_length(part))
    pairs = permutations(range(size), 2)
    return [(u, v, hops[u][v], _orbit(part, u), _orbit(part, v)) for u, v in pairs]


def _orbit(part: nx.Graph, node: int) -> int:
    degrees = tuple(sorted(d for _, d in part.degree()))
    table = {
        (1, 1): {1: 0},
        (1, 1, 2): {1: 1, 2: 2},
        (2, 2, 2): {2: 3},
        (1, 1, 2, 2): {1: 4, 2: 5},
        (1, 1, 1, 3): {1: 6, 3: 7},
        (2, 2, 2, 2): {2: 8},
        (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
        (2, 2, 3, 3): {2: 12, 3: 13},
        (3, 3, 3, 3): {3: 14},
    }
    return table[degrees][part.degree(node)]
