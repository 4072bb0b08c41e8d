"""Maximum mean discrepancy between two sets of graphs, each with the name of its convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.generation.graph_statistics import (
    CLUSTERING_BINS,
    clustering_distribution,
    degree_distribution,
    mean_orbit_counts,
    spectrum_distribution,
)
from geqlib.graph.segments import segment_lengths
from geqlib.motifs.graphs import Graphs

Distance = Literal["total variation", "earth mover", "euclidean"]
Convention = Literal["TV", "EMD"]


def squared_mmd(
    x: Tensor, y: Tensor, distance: Distance, *, sigma: float = 1.0, bins: float = 1.0
) -> float:
    """Squared maximum mean discrepancy of two sets of vectors, under a Gaussian of a distance.

        k(a, b) = exp(-d(a, b)^2 / (2 sigma^2))
        MMD^2 = mean over x, x' of k + mean over y, y' of k - 2 mean over x, y of k

    with d half the sum of |a - b| ("total variation"), the sum of |differences of running sums|
    ("earth mover", of histograms) or |a - b| ("euclidean"). Means are over all pairs, those of a
    vector with itself too, as in the code of You et al. (GraphRNN, ICML 2018); the estimate is
    biased upwards, and comparable only between sets of about the same sizes.

    Args:
        x: [X, B], and y: [Y, B']; the shorter vectors get zeros at their end.
        distance: which.
        sigma: of the Gaussian.
        bins: what one unit of the earth mover's distance is divided by.

    Raises:
        ValueError: an empty set, or values that are not finite.

    Example:
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> squared_mmd(x, x, "total variation")
        0.0
    """
    if not len(x) or not len(y):
        raise ValueError(f"There are {len(x)} and {len(y)} vectors: both sets need one at least.")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("A vector holds values that are not finite: leave it out.")
    width = max(x.size(1), y.size(1))
    x, y = (pad(z.double(), (0, width - z.size(1))) for z in (x, y))
    if distance == "earth mover":
        x, y = x.cumsum(1) / bins, y.cumsum(1) / bins

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        if distance == "euclidean":
            d = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            d = torch.cdist(a, b, 1.0) * (0.5 if distance == "total variation" else 1.0)
        return (-d.square() / (2 * sigma**2)).exp().mean()

    return float(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))


@dataclass(frozen=True)
class GraphScores:
    """Squared maximum mean discrepancies of two sets of graphs.

    Args:
        convention: which kernels.
        samples, reference: graphs that were compared.
        empty: samples without nodes, which are not among them.
        degree, clustering, orbits, spectrum: of these statistics.

    Example:
        >>> print(GraphScores("TV", 40, 40, 0, 0.01, 0.02, 0.0, 0.003))
        40 samples, 40 of the reference
        degree      0.01000  [TV]
        clustering  0.02000  [TV]
        orbits      0.00000  [TV]
        spectrum    0.00300  [TV]
    """

    convention: Convention
    samples: int
    reference: int
    empty: int
    degree: float
    clustering: float
    orbits: float
    spectrum: float

    def __str__(self) -> str:
        text = [f"{self.samples} samples, {self.reference} of the reference"]
        for name in ("degree", "clustering", "orbits", "spectrum"):
            text.append(f"{name:11} {getattr(self, name):.5f}  [{self.convention}]")
        if self.empty:
            text.append(f"left out: {self.empty} samples without nodes")
        return "\n".join(text)


def graph_scores(samples: Graphs, reference: Graphs, convention: Convention = "TV") -> GraphScores:
    """Squared MMD of degrees, clustering coefficients, orbits of 4 nodes and spectra.

    Invariant to the order of nodes and of graphs. Two conventions are in use, and their numbers
    cannot be compared:

    - "TV": total variation for all four (Liao et al., GRAN, NeurIPS 2019; SPECTRE, DiGress);
    - "EMD": the earth mover's distance for all but orbits, where it is Euclidean (You et al.,
      GraphRNN, ICML 2018; GDSS).

    In both, sigma is 1 for degrees and the spectrum (200 bins), 0.1 for clustering (100 bins, with
    distances in parts of the whole range) and 30 for mean counts of the 15 orbits.

    Args:
        samples, reference: by `geqlib.motifs.graphs.simple_graphs`.
        convention: which kernels.

    Raises:
        ValueError: another convention, no graphs with nodes, or a reference with an empty graph.

    Example:
        >>> from geqlib.motifs.graphs import simple_graphs
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> graphs = simple_graphs(triangle, 3)
        >>> graph_scores(graphs, graphs).degree
        0.0
    """
    if convention not in get_args(Convention):
        raise ValueError(
            f"convention is {convention!r}: choose one of {', '.join(get_args(Convention))}."
        )
    if bool((_sizes(reference) == 0).any()):
        raise ValueError("A graph of the reference has no nodes: leave it out.")
    empty = int((_sizes(samples) == 0).sum())
    samples = _without_empty(samples)
    if not samples.num_graphs or not reference.num_graphs:
        raise ValueError(
            f"There are {samples.num_graphs} samples with nodes and {reference.num_graphs} graphs "
            "of the reference: both sets need one at least."
        )
    histogram: Distance = "total variation" if convention == "TV" else "earth mover"
    vector: Distance = "total variation" if convention == "TV" else "euclidean"
    settings = {
        "degree": (degree_distribution, histogram, 1.0, 1.0),
        "clustering": (clustering_distribution, histogram, 0.1, CLUSTERING_BINS),
        "orbits": (mean_orbit_counts, vector, 30.0, 1.0),
        "spectrum": (spectrum_distribution, histogram, 1.0, 1.0),
    }
    values = {
        name: squared_mmd(of(samples), of(reference), distance, sigma=sigma, bins=bins)
        for name, (of, distance, sigma, bins) in settings.items()
    }
    return GraphScores(convention, samples.num_graphs, reference.num_graphs, empty, **values)


def _sizes(graphs: Graphs) -> Tensor:
    return segment_lengths(graphs.batch, graphs.num_graphs)


def _without_empty(graphs: Graphs) -> Graphs:
    used = _sizes(graphs) > 0
    number = used.long().cumsum(0) - 1
    return Graphs(
        graphs.edge_index, graphs.num_nodes, number[graphs.batch], int(used.sum()), graphs.labels
    )
