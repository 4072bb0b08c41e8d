"""What sets of graphs are compared by: one vector for each graph, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths
from geqlib.motifs.graphs import Graphs
from geqlib.motifs.orbits import ORBIT_PAIRS, OrbitPair, orbit_adjacencies

CLUSTERING_BINS = 100
SPECTRUM_BINS = 200
LOWEST = -1e-5  # of the spectrum's histogram, below the rounding errors of 0
# for each orbit, a second node of its graphlets, and how many such nodes each of them has
COUNTED_AT = (
    ((1, 0, 0), 1), ((1, 1, 2), 1), ((1, 2, 1), 2), ((1, 3, 3), 2),
    ((1, 4, 5), 1), ((1, 5, 5), 1), ((1, 6, 7), 1), ((1, 7, 6), 3),
    ((2, 8, 8), 1), ((1, 9, 11), 1), ((1, 10, 10), 1), ((1, 11, 9), 1),
    ((2, 12, 12), 1), ((1, 13, 13), 1), ((1, 14, 14), 3),
)  # fmt: skip


def orbit_counts(graphs: Graphs) -> Tensor:
    """[N, 15] induced graphlets of 2 to 4 nodes in which each node is at each orbit.

    Orbits are those of Pržulj (Bioinformatics 2007), in the order of the program ORCA.

    Raises:
        ValueError: counts that are not below 2^53.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> orbit_counts(simple_graphs(path, 3))[:, :3].tolist()
        [[1, 1, 0], [2, 0, 1], [1, 1, 0]]
    """
    pairs, counts = orbit_adjacencies(graphs)
    columns = [ORBIT_PAIRS.index(OrbitPair(*pair)) for pair, _ in COUNTED_AT]
    several = counts.new_tensor([number for _, number in COUNTED_AT])
    total = counts.new_zeros(graphs.num_nodes, len(COUNTED_AT))
    return total.index_add(0, pairs[0], counts[:, columns]) // several


def mean_orbit_counts(graphs: Graphs) -> Tensor:
    """[G, 15] mean of `orbit_counts` over the nodes of each graph."""
    counts = orbit_counts(graphs).double()
    size = segment_lengths(graphs.batch, graphs.num_graphs)
    total = counts.new_zeros(graphs.num_graphs, counts.size(1)).index_add(0, graphs.batch, counts)
    return total / size[:, None]


def degree_distribution(graphs: Graphs) -> Tensor:
    """[G, D + 1] share of the nodes of each graph that have 0, 1, ..., D neighbours."""
    degree = segment_lengths(graphs.edge_index[0], graphs.num_nodes)
    bins = int(degree.max()) + 1 if len(degree) else 1
    key = graphs.batch * bins + degree
    return _shares(segment_lengths(key, graphs.num_graphs * bins).view(-1, bins))


def clustering_distribution(graphs: Graphs) -> Tensor:
    """[G, 100] share of nodes by their clustering coefficient, in bins between 0 and 1.

    The coefficient of a node of degree d with t triangles is 2 t / (d (d - 1)), and 0 for d < 2.
    """
    counts = orbit_counts(graphs)
    degree, triangles = counts[:, 0], counts[:, 3]
    coefficient = 2 * triangles.double() / (degree * (degree - 1)).clamp(min=1)
    parts = _per_graph(coefficient, graphs)
    return _shares(_histograms(parts, CLUSTERING_BINS, (0.0, 1.0)))


def spectrum_distribution(graphs: Graphs) -> Tensor:
    """[G, 200] share of eigenvalues of the normalised Laplacian, in bins between 0 and 2.

    The Laplacian is D^(-1/2) (D - A) D^(-1/2), with rows of zeros at isolated nodes. Eigenvalues
    are clipped to 2, the largest possible one, which every bipartite graph has: published code
    drops it where rounding makes it larger.
    """
    size = segment_lengths(graphs.batch, graphs.num_graphs).tolist()
    source, target = graphs.edge_index
    degree = segment_lengths(source, graphs.num_nodes)
    # nodes of one graph may lie apart
    order = graphs.batch.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    spectra, begin = [], 0
    for graph, nodes in enumerate(size):
        own = graphs.batch[source] == graph
        row, column = place[source[own]] - begin, place[target[own]] - begin
        root = degree[order[begin : begin + nodes]].double().clamp(min=1).rsqrt()
        laplacian = torch.diag((degree[order[begin : begin + nodes]] > 0).double())
        laplacian[row, column] = -root[row] * root[column]
        spectra.append(torch.linalg.eigvalsh(laplacian).clamp(max=2.0).cpu().numpy())
        begin += nodes
    return _shares(_histograms(spectra, SPECTRUM_BINS, (LOWEST, 2.0)))


def _per_graph(of_node: Tensor, graphs: Graphs) -> list[np.ndarray]:
    size = segment_lengths(graphs.batch, graphs.num_graphs).tolist()
    return [x.cpu().numpy() for x in of_node[graphs.batch.argsort(stable=True)].split(size)]


def _histograms(parts: list[np.ndarray], bins: int, limits: tuple[float, float]) -> Tensor:
    counts = [np.histogram(part, bins, limits)[0] for part in parts]
    return torch.from_numpy(np.stack(counts))


def _shares(counts: Tensor) -> Tensor:
    return counts.double() / counts.sum(1, keepdim=True)
