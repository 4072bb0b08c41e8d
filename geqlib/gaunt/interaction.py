"""Densities of neighbours, and messages between them: the layers of GauntNet.

Sources: Drautz (Phys. Rev. B 99, 014104), Batatia et al. (NeurIPS 2022, arXiv 2206.07697), Luo et
al. (ICLR 2024, arXiv 2401.10216).
"""

from __future__ import annotations

from math import pi, sqrt
from typing import cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation, SumAggregation
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.gaunt.layout import ComponentLinear
from geqlib.gaunt.neighbor_messages import NeighborMessages
from geqlib.gaunt.power import GauntPower
from geqlib.gaunt.slots import NeighborSlots


def natural_irreps(channels: int, degree: int) -> o3.Irreps:
    """Functions on the sphere up to a degree: "Cx0e+Cx1o+Cx2e+...".

    Example:
        >>> natural_irreps(8, 2)
        8x0e+8x1o+8x2e
    """
    return cast(o3.Irreps, o3.Irreps([(channels, (n, (-1) ** n)) for n in range(degree + 1)]))


def normalized(density: Tensor) -> Tensor:
    """Densities of each atom divided by sqrt(1 + their mean square), which is below 1 afterwards.

    Symmetry: O(3), exactly: the squares of all components of a degree have an invariant sum. Small
    densities stay what they are.

    Args:
        density: [k, N, C], components first, of whole degrees.

    Example:
        >>> normalized(torch.full((4, 1, 2), 3e3)).square().mean().round()
        tensor(1.)
    """
    return density * (1 + density.square().mean((0, 2), keepdim=True)).rsqrt()


class NeighborDensity(nn.Module):
    """The density of neighbours of each element, projected on radial functions and harmonics.

    Symmetry: O(3), exactly. Source: Drautz (Phys. Rev. B 99, 014104), eq. 17-19. With learnt W,

        A_lmc = sum_zh W_l,zh,c  sum over neighbours j of element z of h(r_ij) S_lm(v_ij).

    Args:
        elements: number of elements.
        features: H, number of radial functions h.
        degree: highest l.
        channels: C.

    Shapes:
        harmonics [N, K, (degree + 1)^2] (0 in empty slots), radial [N, K, H], one-hot elements
        [N, elements], neighbours in their slots, to [k, N, C], components first.
    """

    def __init__(self, elements: int, features: int, degree: int, channels: int) -> None:
        super().__init__()
        # a neighbour is of one element only
        self.mix = ComponentLinear(
            range(degree + 1), elements * features, channels, scale=sqrt(elements)
        )
        self.components = (degree + 1) ** 2

    def forward(
        self, harmonics: Tensor, radial: Tensor, choice: Tensor, plan: NeighborSlots
    ) -> Tensor:
        neighbor = plan.neighbor
        element = choice.index_select(0, neighbor.flatten()).unflatten(0, neighbor.shape)
        features = (element.unsqueeze(3) * radial.unsqueeze(2)).flatten(2)
        density = torch.bmm(harmonics[..., : self.components].mT, features)
        return self.mix(density.transpose(0, 1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mix})"


class GauntInteraction(nn.Module):
    """Messages from neighbours, and powers of their sum: one layer of a many-body network.

    Symmetry: O(3), exactly. x <- P(A) + W_z x, with A = W' sum_j (w(r_ij) S(v_ij)) * (W'' x_j) by
    Gaunt products, P the powers of `GauntPower` with weights for each element, and W_z a linear map
    of each element.

    Args:
        elements: number of elements.
        features: H, number of radial functions.
        hidden_degree, degree, out_degree: highest l of x, of the harmonics and messages, and of
            the output.
        order: highest power.
        channels: C of the messages, which are made for each edge.
        width: W of x and of the powers, which are made for each atom.
        aggr: what collects the messages of degree 0, in place of the sum over j: an aggregation of
            torch_geometric, from C to C channels, or its name. Those of higher degrees are summed:
            channel by channel, only linear maps commute with rotations.
        normalize: whether A is `normalized` before it is multiplied.

    Shapes:
        [k, N, W], components first, those of them that are in the output, too, and the arguments
        of `NeighborDensity`, to [k_out, N, W].
    """

    def __init__(
        self,
        elements: int,
        features: int,
        *,
        channels: int,
        width: int,
        hidden_degree: int,
        degree: int,
        out_degree: int,
        order: int,
        aggr: str | Aggregation = "sum",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        narrow, wide = natural_irreps(channels, degree), natural_irreps(width, degree)
        self.before = ComponentLinear(range(hidden_degree + 1), width, channels, nodes_first=True)
        self.radial = ComponentLinear([0], features, (degree + 1) * channels)
        self.messages = NeighborMessages(natural_irreps(channels, hidden_degree), narrow, degree)
        # the messages have the variance (hidden_degree + 1)^2 / 4 pi
        scale = sqrt(4 * pi) / (hidden_degree + 1)
        self.mix = ComponentLinear(range(degree + 1), channels, width, scale=scale)
        out = natural_irreps(width, out_degree)
        self.power = GauntPower(wide, out, order, elements=elements)
        self.after = ComponentLinear(range(out_degree + 1), width, width)
        shared = min(hidden_degree, out_degree)
        self.skip = ComponentLinear(
            range(shared + 1), elements * width, width, scale=sqrt(elements)
        )
        self.shared = (shared + 1) ** 2
        aggregation = aggregation_resolver(aggr)
        self.aggr = None if isinstance(aggregation, SumAggregation) else aggregation
        reset(self.aggr)  # copies of one aggregation would start alike

    def forward(
        self,
        x: Tensor,
        shared: Tensor,
        harmonics: Tensor,
        radial: Tensor,
        choice: Tensor,
        plan: NeighborSlots,
    ) -> Tensor:
        features = self.before(x)
        weight = self.radial(radial.flatten(0, 1).unsqueeze(0)).squeeze(0)
        weight = weight.unflatten(1, (-1, features.size(2))).unflatten(0, plan.neighbor.shape)
        messages = self.messages(features, harmonics, weight, plan.neighbor)
        if self.aggr is not None:
            each = plan.each(self._scalars(features, harmonics, weight, plan.neighbor))
            scalars = self.aggr(each, plan.owners(), dim_size=plan.neighbor.size(0))
            messages = torch.cat([scalars.unsqueeze(0), messages[1:]])
        density = self.mix(messages)
        density = normalized(density) if self.normalize else density
        out = self.after(self.power.on_components(density, choice))
        own = self.skip((shared.unsqueeze(2) * choice.unsqueeze(-1)).flatten(2))
        if self.shared == out.size(0):
            return out + own
        return torch.cat([out[: self.shared] + own, out[self.shared :]])

    def _scalars(self, x: Tensor, harmonics: Tensor, weight: Tensor, neighbor: Tensor) -> Tensor:
        """Messages of degree 0, [N, K, C]: products of equal components, times Y_00."""
        shared = min(x.size(0), harmonics.size(2))
        degree = [ell for ell in range(weight.size(2)) for _ in range(2 * ell + 1)]
        sources = x[:shared].transpose(0, 1).index_select(0, neighbor.flatten())
        kernel = harmonics[..., :shared, None] * weight[:, :, degree[:shared]]
        return (kernel * sources.unflatten(0, neighbor.shape)).sum(2) / sqrt(4 * pi)

    def __repr__(self) -> str:
        aggr = "" if self.aggr is None else f", aggr={self.aggr}"
        scale = ", normalize=True" if self.normalize else ""
        return f"{type(self).__name__}({self.messages}, {self.power}{aggr}{scale})"
