"""Counts by enumeration of all maps, all subsets: as slow and plain as can be."""

from __future__ import annotations

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
    maps = permutations if injective or induced else None
    nodes = range(len(graph))
    images = maps(nodes, pattern.nodes) if maps else product(nodes, repeat=pattern.nodes)
    for image in images:
        joined = {
            (i, j)
            for i, j in combinations(range(pattern.nodes), 2)
            if graph.has_edge(image[i], image[j])
        }
        if joined == set(pattern.edges) if induced else joined >= set(pattern.edges):
            key = tuple(image[root] for root in pattern.roots)
            counts[key] = counts.get(key, 0) + 1
    return counts


def orbits(graph: nx.Graph) -> Counts:
    """(node, node, hops, orbit, orbit) -> number of graphlets of 2 to 4 nodes."""
    counts: Counts = {}
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            part = graph.subgraph(nodes)
            if not nx.is_connected(part):
                continue
            hops = dict(nx.all_pairs_shortest_path_length(part))
            for u, v in permutations(nodes, 2):
                key = (u, v, hops[u][v], _orbit(part, u), _orbit(part, v))
                counts[key] = counts.get(key, 0) + 1
    return counts


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
