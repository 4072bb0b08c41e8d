"""e3nn's own message-passing network, as its users build it."""

from __future__ import annotations

import torch
from e3nn import o3
from e3nn.nn.models.v2106.gate_points_message_passing import MessagePassing
from torch import Tensor, nn

from geqlib.radial import BesselBasis, PolynomialCutoff


class GateNetwork(nn.Module):
    """Elements and positions to irreps of atoms, with the signature of GauntNet.

    Args:
        elements: atomic numbers.
        channels, degree: of the hidden features of natural parity; harmonics go to `degree` too.
        layers: convolutions, the last one without a gate.
        cutoff: in angstrom.
        neighbors: a typical number.
        irreps_out: of an atom.
    """

    def __init__(
        self,
        elements: list[int],
        *,
        channels: int,
        degree: int,
        layers: int,
        cutoff: float,
        neighbors: float,
        irreps_out: str,
    ) -> None:
        super().__init__()
        hidden = o3.Irreps([(channels, (ell, (-1) ** ell)) for ell in range(degree + 1)])
        one_hot = o3.Irreps(f"{len(elements)}x0e")
        self.edge = o3.Irreps.spherical_harmonics(degree)
        self.basis, self.envelope = BesselBasis(8, cutoff), PolynomialCutoff(cutoff, 5)
        self.network = MessagePassing(
            [one_hot, *[hidden] * (layers - 1), o3.Irreps(irreps_out)],
            one_hot,
            self.edge,
            fc_neurons=[8, 64],
            num_neighbors=neighbors,
        )
        table = torch.zeros(119, len(elements))
        table[elements, range(len(elements))] = 1.0
        self.register_buffer("table", table)

    def forward(self, pos: Tensor, z: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        offset = pos[source] - pos[target]
        distance = offset.norm(dim=1)
        harmonics = o3.spherical_harmonics(self.edge, offset, True, normalization="component")
        envelope = self.envelope(distance).unsqueeze(1)
        x = self.table[z]
        radial = self.basis(distance) * envelope * 8**0.5
        return self.network(x, x, source, target, harmonics * envelope, radial)
