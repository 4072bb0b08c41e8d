"""Inputs of EScAIP's blocks: embeddings of elements, distances and bond orders."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch_geometric.nn.inits import reset

from geqlib.escaip.neighborhoods import Neighborhoods

LEAST = 1e-4  # added to squared bond orders, whose roots are smooth then
EPSILON = 1e-6  # of norms, in any precision


def bond_orders(harmonics: Tensor, weight: Tensor, degree: int) -> Tensor:
    """B_l(i) = |sum_j w_ij Y_lm(r_ij)| / sum_j w_ij over neighbours, l = 1, ..., degree.

    Symmetry: invariant under O(3), exactly. Source: Steinhardt, Nelson and Ronchetti (Phys. Rev. B
    28, 784), as in EScAIP, where every neighbour has the weight 1, so that B_l jumps where one
    crosses the cutoff. The harmonics are normalised so that |Y_l| = 1; the atom itself counts in
    the denominator.

    Args:
        harmonics: [N, M, k] solid harmonics of directions, of `degree` at least.
        weight: [N, M].
        degree: highest l.

    Returns:
        [N, degree].

    Example:
        >>> from geqlib.sphere.harmonics import SolidHarmonics
        >>> directions = torch.tensor([[[0.0, 0, 0], [0.0, 0, 1], [0.0, 0, -1]]])
        >>> harmonics = SolidHarmonics(2)(directions[0])[None]
        >>> bond_orders(harmonics, torch.ones(1, 3), 2).round(decimals=2)
        tensor([[0.0100, 0.6700]])
    """
    mean = (weight.unsqueeze(1) @ harmonics).squeeze(1) / weight.sum(1, keepdim=True)
    squares = [
        mean[:, ell**2 : (ell + 1) ** 2].square().sum(1) * (4 * pi / (2 * ell + 1))
        for ell in range(1, degree + 1)
    ]
    return (torch.stack(squares, 1) + LEAST).sqrt()


def rms_norm(channels: int) -> nn.RMSNorm:
    """A norm without gains, which the linear map behind it has."""
    return nn.RMSNorm(channels, eps=EPSILON, elementwise_affine=False)


class EdgeLinear(nn.Module):
    """W_e e_ij + W_s n_j + W_t n_i + b: a linear map of an edge and of its two atoms.

    Those of atoms are multiplied before they are gathered: once for each atom, not for each edge.

    Args:
        edge_features, node_features, out_features: numbers of features.
    """

    def __init__(self, edge_features: int, node_features: int, out_features: int) -> None:
        super().__init__()
        self.edge = nn.Linear(edge_features, out_features)
        self.nodes = nn.Linear(node_features, 2 * out_features, bias=False)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, edges: Tensor, nodes: Tensor, slots: Neighborhoods) -> Tensor:
        """[N, M, edge_features] and [N, node_features] to [N, M, out_features]."""
        source, target = self.nodes(nodes).chunk(2, 1)
        return self.edge(edges) + slots.gather(source) + target.unsqueeze(1)


@dataclass(frozen=True)
class Inputs:
    """Invariants that all blocks share.

    Args:
        atoms: [N, F] embedding of the element and of bond orders.
        edges: [N, M, R] of distances.
    """

    atoms: Tensor
    edges: Tensor


class EdgeAttributes(nn.Module):
    """RMSNorm(GELU(W [f(d_ij), a_j, a_i])): attributes a_ij of an edge, from inputs alone.

    Args:
        radial_features, atom_features: R and F of `Inputs`.
        channels: of the attributes.
    """

    def __init__(self, radial_features: int, atom_features: int, channels: int) -> None:
        super().__init__()
        self.linear = EdgeLinear(radial_features, atom_features, channels)
        self.norm = rms_norm(channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, inputs: Inputs, slots: Neighborhoods) -> Tensor:
        return self.norm(gelu(self.linear(inputs.edges, inputs.atoms, slots)))
