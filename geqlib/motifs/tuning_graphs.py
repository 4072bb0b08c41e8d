"""Pairs of graphs by which a recipe is chosen before the pairs of a benchmark are seen.

No two graphs of a pair are isomorphic, and 1-WL distinguishes none; none is a pair of BREC, whose
regular graphs have up to 10 nodes, whose strongly regular ones up to 35, and whose CFI graphs are
made of graphs of up to 7 nodes.
"""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np

Pairs = list[tuple[nx.Graph, nx.Graph]]
PAIRS = 8  # of each kind
REGULAR = ((3, 12), (4, 12))  # degree and nodes
ORDER = 6  # of Latin squares; the exchanges below change nothing in those of prime order
SWITCHES = 5


def tuning_graphs(seed: int = 0) -> dict[str, Pairs]:
    """Pairs by which a recipe is chosen, eight of each kind.

    Regular graphs have 12 nodes and degree 3 or 4; irregular ones are these with a leaf at every
    node. Strongly regular ones are those of Latin squares of order 6, of 36 nodes. CFI
    graphs (Cai, Fürer and Immerman, Combinatorica 1992) are made of rings and ladders with chords,
    of tree-width 2, so that folklore 2-WL distinguishes them.

    Args:
        seed: of the random graphs.

    Returns:
        "regular", "irregular", "strongly regular" and "CFI" -> pairs of graphs.

    Example:
        >>> {name: len(pairs) for name, pairs in tuning_graphs().items()}
        {'regular': 8, 'irregular': 8, 'strongly regular': 8, 'CFI': 8}
    """
    rng = np.random.default_rng(seed)
    regular = [_regular_pair(*REGULAR[k % 2], rng) for k in range(PAIRS)]
    other = [_regular_pair(*REGULAR[k % 2], rng) for k in range(PAIRS)]
    return {
        "regular": regular,
        "irregular": [(_with_leaves(one), _with_leaves(two)) for one, two in other],
        "strongly regular": [_latin_pair(ORDER, rng) for _ in range(PAIRS)],
        "CFI": [(cfi_graph(base), cfi_graph(base, twisted=True)) for base in cfi_bases()],
    }


def cfi_graph(base: nx.Graph, *, twisted: bool = False) -> nx.Graph:
    """The graph of Cai, Fürer and Immerman of a connected graph, plain or twisted.

    Its nodes are (v, S), S an even set of the edges at v. (v, S) and (w, T) are joined if v and w
    are, and that edge is in both of S and T or in neither; in the twisted graph one edge of the
    base joins the others. Folklore k-WL distinguishes the two if and only if the tree-width of the
    base is at most k.

    Args:
        base: connected.
        twisted: which of the two.

    Example:
        >>> ring = nx.cycle_graph(4)  # of which they are two rings of four, and one of eight
        >>> nx.number_connected_components(cfi_graph(ring))
        2
        >>> nx.number_connected_components(cfi_graph(ring, twisted=True))
        1
    """
    graph = nx.Graph()
    edges = [frozenset(edge) for edge in base.edges]
    around = {v: [edge for edge in edges if v in edge] for v in base}
    even = {
        v: [frozenset(s) for k in range(0, len(near) + 1, 2) for s in combinations(near, k)]
        for v, near in around.items()
    }
    graph.add_nodes_from((v, s) for v, sets in even.items() for s in sets)
    for number, edge in enumerate(edges):
        v, w = edge
        other = twisted and number == 0
        graph.add_edges_from(
            ((v, s), (w, t))
            for s in even[v]
            for t in even[w]
            if ((edge in s) == (edge in t)) != other
        )
    return nx.convert_node_labels_to_integers(graph)


def cfi_bases() -> list[nx.Graph]:
    """Connected graphs of 8 to 12 nodes and tree-width 2, no two isomorphic."""
    rings = [nx.cycle_graph(8), nx.cycle_graph(11)]
    ladders = [nx.ladder_graph(4), nx.ladder_graph(5), nx.ladder_graph(6)]
    chords = [
        nx.Graph([*nx.cycle_graph(n).edges, *edges])
        for n, edges in ((8, [(0, 4)]), (9, [(0, 3), (4, 7)]), (10, [(0, 2), (3, 9), (4, 8)]))
    ]
    return rings + ladders + chords


def latin_square_graph(square: np.ndarray) -> nx.Graph:
    """Cells of a Latin square, joined if they share row, column or symbol: strongly regular with
    the parameters (n^2, 3 (n - 1), n, 6).

    Args:
        square: [n, n] integers, each once in every row and column.

    Example:
        >>> graph = latin_square_graph(np.add.outer(range(4), range(4)) % 4)
        >>> len(graph), set(dict(graph.degree).values())
        (16, {9})
    """
    n = len(square)
    cells = [(i, j, int(square[i, j])) for i in range(n) for j in range(n)]
    graph = nx.Graph()
    graph.add_nodes_from(range(n * n))
    graph.add_edges_from(
        (a, b)
        for a, b in combinations(range(n * n), 2)
        if any(p == q for p, q in zip(cells[a], cells[b], strict=True))
    )
    return graph


def _regular_pair(degree: int, nodes: int, rng: np.random.Generator) -> tuple[nx.Graph, nx.Graph]:
    """Connected, and of other numbers of closed walks or distances, which leaves no doubt."""
    one = _regular(degree, nodes, rng)
    while True:
        two = _regular(degree, nodes, rng)
        if not nx.is_isomorphic(one, two):
            return one, two


def _regular(degree: int, nodes: int, rng: np.random.Generator) -> nx.Graph:
    while True:
        graph = nx.random_regular_graph(degree, nodes, seed=int(rng.integers(2**31)))
        if nx.is_connected(graph):
            return graph


def _with_leaves(graph: nx.Graph) -> nx.Graph:
    nodes = len(graph)
    return nx.Graph([*graph.edges, *((node, node + nodes) for node in graph)])


def _latin_pair(order: int, rng: np.random.Generator) -> tuple[nx.Graph, nx.Graph]:
    """Two whose numbers of complete subgraphs of four nodes differ."""
    one = latin_square_graph(_latin_square(order, rng))
    while True:
        two = latin_square_graph(_latin_square(order, rng))
        if _four_cliques(one) != _four_cliques(two):
            return one, two


def _latin_square(order: int, rng: np.random.Generator) -> np.ndarray:
    """The addition table of a cyclic group, in which cycles of two rows were exchanged."""
    square = np.add.outer(np.arange(order), np.arange(order)) % order
    for _ in range(SWITCHES):
        square = np.moveaxis(square, 0, rng.integers(2))  # rows or columns
        a, b = rng.choice(order, 2, replace=False)
        column = int(rng.integers(order))
        cycle, symbol = [column], square[b, column]
        while symbol != square[a, column]:
            cycle.append(int(np.flatnonzero(square[a] == symbol)[0]))
            symbol = square[b, cycle[-1]]
        square = square.copy()
        square[np.ix_([a, b], cycle)] = square[np.ix_([b, a], cycle)]
    return square


def _four_cliques(graph: nx.Graph) -> int:
    common = {edge: set(graph[edge[0]]) & set(graph[edge[1]]) for edge in graph.edges}
    return sum(graph.subgraph(others).number_of_edges() for others in common.values())
