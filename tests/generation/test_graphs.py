"""Discrepancies of sets of graphs against loops over graphs, nodes and pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from geqlib.generation import GraphScores, graph_scores, squared_mmd
from geqlib.generation.graph_statistics import orbit_counts, spectrum_distribution
from geqlib.motifs.graphs import Graphs, simple_graphs

# degrees of a graphlet -> degree of a node -> its orbit
ORBITS = {
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


def batched(graphs: Sequence[nx.Graph]) -> Graphs:
    edges = []
    for graph, begin in zip(graphs, np.cumsum([0, *map(len, graphs)]), strict=False):
        edges += [(a + begin, b + begin) for u, v in graph.edges for a, b in ((u, v), (v, u))]
    sizes = torch.tensor([len(graph) for graph in graphs])
    batch = torch.arange(len(graphs)).repeat_interleave(sizes)
    edge_index = torch.tensor(edges, dtype=torch.long).view(-1, 2).T
    return simple_graphs(edge_index, len(batch), batch, len(graphs))


def random_graphs(count: int, density: float, seed: int) -> list[nx.Graph]:
    return [nx.gnp_random_graph(5 + k % 4, density, seed=seed + k) for k in range(count)]


def orbits_of(graph: nx.Graph) -> np.ndarray:
    counts = np.zeros((len(graph), 15))
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            part = graph.subgraph(nodes)
            if nx.is_connected(part):
                places = ORBITS[tuple(sorted(degree for _, degree in part.degree))]
                for node, degree in part.degree:
                    counts[node, places[degree]] += 1
    return counts


def spectrum_of(graph: nx.Graph) -> np.ndarray:
    values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    return np.histogram(np.minimum(values, 2), 200, (-1e-5, 2))[0]


def clustering_of(graph: nx.Graph) -> np.ndarray:
    return np.histogram([nx.clustering(graph, node) for node in graph], 100, (0, 1))[0]


def kernel(a: np.ndarray, b: np.ndarray, distance: str, sigma: float, bins: float) -> float:
    width = max(len(a), len(b))
    a, b = (np.pad(x, (0, width - len(x))) for x in (a, b))
    d = {
        "total variation": lambda: sum(abs(p - q) for p, q in zip(a, b, strict=True)) / 2,
        "earth mover": lambda: wasserstein_distance(range(width), range(width), a, b) / bins,
        "euclidean": lambda: math.dist(a, b),
    }[distance]()
    return math.exp(-(d**2) / (2 * sigma**2))


def discrepancy(
    sets: list[list[np.ndarray]], distance: str, sigma: float, bins: float = 1
) -> float:
    one, other = sets

    def mean(x: list[np.ndarray], y: list[np.ndarray]) -> float:
        return float(np.mean([kernel(a, b, distance, sigma, bins) for a in x for b in y]))

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


def oracle(one: list[nx.Graph], other: list[nx.Graph], convention: str) -> dict[str, float]:
    histogram = "total variation" if convention == "TV" else "earth mover"
    vector = "total variation" if convention == "TV" else "euclidean"

    def shares(of: Callable, graphs: list[nx.Graph]) -> list[np.ndarray]:
        return [np.array(of(graph)) / np.sum(of(graph)) for graph in graphs]

    sets = one, other
    means = [[orbits_of(graph).mean(0) for graph in graphs] for graphs in sets]
    degrees = [shares(nx.degree_histogram, graphs) for graphs in sets]
    clustering = [shares(clustering_of, graphs) for graphs in sets]
    spectra = [shares(spectrum_of, graphs) for graphs in sets]
    return {
        "degree": discrepancy(degrees, histogram, 1),
        "clustering": discrepancy(clustering, histogram, 0.1, 100),
        "orbits": discrepancy(means, vector, 30),
        "spectrum": discrepancy(spectra, histogram, 1),
    }


def values(scores: GraphScores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in ("degree", "clustering", "orbits", "spectrum")}


@pytest.mark.parametrize("convention", ["TV", "EMD"])
def test_scores_are_those_of_the_oracle(convention: str) -> None:
    one, other = random_graphs(6, 0.3, 0), random_graphs(5, 0.6, 50)
    scores = graph_scores(batched(one), batched(other), convention)  # type: ignore[arg-type]
    expected = oracle(one, other, convention)
    assert values(scores) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert min(expected.values()) > 1e-4
    assert str(scores).count(f"[{convention}]") == 4


@pytest.mark.parametrize("density", [0.3, 0.6, 0.9])
def test_orbits_are_counted_as_by_enumeration(density: float) -> None:
    graphs = random_graphs(8, density, 100)
    assert np.array_equal(
        orbit_counts(batched(graphs)), np.concatenate(list(map(orbits_of, graphs)))
    )


def test_order_of_nodes_and_graphs_changes_nothing() -> None:
    one, other = random_graphs(6, 0.4, 0), random_graphs(5, 0.6, 50)
    first, second = batched(one), batched(other)
    order = torch.randperm(first.num_nodes, generator=torch.Generator().manual_seed(0))
    batch = torch.empty_like(first.batch)
    batch[order] = 5 - first.batch
    shuffled = simple_graphs(order[first.edge_index], first.num_nodes, batch, 6)
    expected = values(graph_scores(first, second))
    assert values(graph_scores(shuffled, second)) == pytest.approx(expected, abs=1e-12)


def test_a_set_is_at_no_distance_from_itself_and_far_from_another() -> None:
    grids = [nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, k)) for k in range(3, 8)]
    same = values(graph_scores(batched(grids), batched(grids[::-1])))
    assert max(map(abs, same.values())) < 1e-12
    other = values(graph_scores(batched(grids), batched([nx.complete_graph(8)] * 5)))
    assert min(other.values()) > 0.1


def test_the_largest_eigenvalue_of_bipartite_graphs_is_counted() -> None:
    graphs = [nx.complete_bipartite_graph(a, b) for a in range(1, 6) for b in range(1, 6)]
    last = spectrum_distribution(batched(graphs))[:, -1]
    expected = torch.tensor([1 / len(graph) for graph in graphs], dtype=torch.float64)
    assert torch.equal(last, expected)


def test_samples_without_nodes_are_counted() -> None:
    graphs = random_graphs(4, 0.5, 0)
    with_empty = batched([nx.empty_graph(0), *graphs, nx.empty_graph(0)])
    scores = graph_scores(with_empty, batched(graphs))
    assert (scores.samples, scores.reference, scores.empty) == (4, 4, 2)
    assert "left out: 2 samples without nodes" in str(scores)
    assert values(scores) == values(graph_scores(batched(graphs), batched(graphs)))


def test_graphs_without_edges_have_scores() -> None:
    scores = graph_scores(batched([nx.empty_graph(3)]), batched([nx.complete_graph(3)]))
    assert all(math.isfinite(value) for value in values(scores).values())


def test_wrong_input_is_named() -> None:
    graphs, empty = batched(random_graphs(3, 0.5, 0)), batched([nx.empty_graph(0)])
    with pytest.raises(ValueError, match="choose one of TV, EMD"):
        graph_scores(graphs, graphs, "tv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 samples with nodes"):
        graph_scores(empty, graphs)
    with pytest.raises(ValueError, match="reference has no nodes"):
        graph_scores(graphs, empty)
    with pytest.raises(ValueError, match="0 and 1 vectors"):
        squared_mmd(torch.ones(0, 2), torch.ones(1, 2), "euclidean")
    with pytest.raises(ValueError, match="not finite"):
        squared_mmd(torch.full((1, 2), math.nan), torch.ones(1, 2), "euclidean")
