"""A network in the manner of SEGNN, with either kind of product.

Source: Brandstetter et al., "Geometric and physical quantities improve E(3) equivariant message
passing" (ICLR 2022, arXiv 2110.02905): every linear map is a product of features with harmonics of
relative positions ("attributes"), followed by a gate; messages from pairs, updates of nodes.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn

from geqlib.nn import GauntTensorProduct

INITIAL = 0.1  # size of the first displacements
Kind = Literal["clebsch-gordan", "gaunt"]


class SteerableGNN(nn.Module):
    """Charged balls to their displacements.

    Args:
        kind: of the products.
        channels, degree: of hidden features of natural parity and of the attributes.
        layers: rounds of messages.
    """

    def __init__(self, kind: Kind, *, channels: int = 32, degree: int = 1, layers: int = 4) -> None:
        super().__init__()
        self.hidden = natural(channels, degree)
        self.attribute = natural(1, degree)
        inputs = o3.Irreps("1x0e+2x1o")  # speed; place and velocity
        pair = merged(self.hidden, self.hidden, o3.Irreps("2x0e"))
        make = partial(Steerable, kind, attribute=self.attribute, channels=channels)
        self.embed = make(inputs, irreps_out=self.hidden, gated=False)
        self.messages = nn.ModuleList(
            nn.ModuleList(
                [
                    make(pair, irreps_out=self.hidden),
                    make(self.hidden, irreps_out=self.hidden),
                ]
            )
            for _ in range(layers)
        )
        double = merged(self.hidden, self.hidden)
        self.updates = nn.ModuleList(
            nn.ModuleList(
                [
                    make(double, irreps_out=self.hidden),
                    make(self.hidden, irreps_out=self.hidden, gated=False),
                ]
            )
            for _ in range(layers)
        )
        self.read = make(self.hidden, irreps_out=o3.Irreps("1x1o"), gated=False)

    def forward(
        self, pos: Tensor, vec: Tensor, edge_index: Tensor, edge_attr: Tensor, centre: Tensor
    ) -> Tensor:
        """Displacements [N, 3]; `centre` [N, 3] is the mean position of each node's system."""
        source, target = edge_index
        offset, velocity = pos[source] - pos[target], vec[:, 0]
        edge = self._harmonics(offset)
        count = pos.new_zeros(len(pos), 1).index_add(0, target, pos.new_ones(len(source), 1))
        near = edge.new_zeros(len(pos), edge.size(1)).index_add(0, target, edge)
        node = (near / count.clamp(min=1) + self._harmonics(velocity)) / 2
        inputs = torch.cat([velocity.norm(dim=1, keepdim=True), pos - centre, velocity], 1)
        invariant = torch.cat([offset.square().sum(1, keepdim=True).log1p(), edge_attr], 1)
        x = self.embed(inputs, node)
        for message, update in zip(self.messages, self.updates, strict=True):
            m = joined([x[target], x[source]], self.hidden, invariant)
            for layer in message:
                m = layer(m, edge)
            m = torch.zeros_like(x).index_add(0, target, m) / count.clamp(min=1).sqrt()
            u = joined([x, m], self.hidden)
            for layer in update:
                u = layer(u, node)
            x = x + u / len(self.messages) ** 0.5
        return INITIAL * self.read(x, node)

    def _harmonics(self, vector: Tensor) -> Tensor:
        return o3.spherical_harmonics(self.attribute, vector, True, normalization="component")


class SEGNN(SteerableGNN):
    """The network with Clebsch-Gordan products, for batches as geqlib's tasks hand them over."""

    def __init__(self, *, channels: int = 16, degree: int = 1, layers: int = 3) -> None:
        super().__init__("clebsch-gordan", channels=channels, degree=degree, layers=layers)

    def forward(  # type: ignore[override]
        self, pos: Tensor, edge_index: Tensor, vec: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> Tensor:
        """Displacements [N, 1, 3]."""
        count = torch.bincount(batch).unsqueeze(1)
        centre = pos.new_zeros(len(count), 3).index_add(0, batch, pos) / count
        return super().forward(pos, vec, edge_index, edge_attr, centre[batch])[:, None]


class Steerable(nn.Module):
    """A product with attributes, with learnt weights, and a gate."""

    def __init__(
        self,
        kind: Kind,
        irreps_in: o3.Irreps,
        attribute: o3.Irreps,
        irreps_out: o3.Irreps,
        *,
        channels: int,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.gate, out = None, irreps_out
        if gated:
            scalars = o3.Irreps([(mul, ir) for mul, ir in irreps_out if ir.l == 0])
            others = o3.Irreps([(mul, ir) for mul, ir in irreps_out if ir.l > 0])
            gates = o3.Irreps([(others.num_irreps, "0e")])
            self.gate = Gate(scalars, [torch.nn.functional.silu], gates, [torch.sigmoid], others)
            out = merged(scalars, gates, others)
        if kind == "gaunt":
            self.product: nn.Module = FactoredProduct(irreps_in, attribute, out, channels)
        else:
            self.product = o3.FullyConnectedTensorProduct(irreps_in, attribute, out)

    def forward(self, x: Tensor, attribute: Tensor) -> Tensor:
        x = self.product(x, attribute)
        return x if self.gate is None else self.gate(x)


class FactoredProduct(nn.Module):
    """W (W' x * w a): channels are mixed before and after a Gaunt product, not in every path.

    These maps hold the weights of the product for each degree of x, of the attribute and of the
    result. To degree 2 the product of normalised features has variances near 1 by itself.
    """

    def __init__(
        self, irreps_in: o3.Irreps, attribute: o3.Irreps, irreps_out: o3.Irreps, channels: int
    ) -> None:
        super().__init__()
        wide = [with_channels(i, channels) for i in (irreps_in, attribute, irreps_out)]
        self.before, self.edge = o3.Linear(irreps_in, wide[0]), o3.Linear(attribute, wide[1])
        self.product = GauntTensorProduct(*wide)
        self.after = o3.Linear(wide[2], irreps_out)

    def forward(self, x: Tensor, attribute: Tensor) -> Tensor:
        return self.after(self.product(self.before(x), self.edge(attribute)))


def with_channels(irreps: o3.Irreps, channels: int) -> o3.Irreps:
    return o3.Irreps([(channels, ir) for _, ir in irreps])


def natural(channels: int, degree: int) -> o3.Irreps:
    return o3.Irreps([(channels, (ell, (-1) ** ell)) for ell in range(degree + 1)])


def merged(*irreps: o3.Irreps) -> o3.Irreps:
    """All of them, each irrep once, by degree."""
    total: dict[o3.Irrep, int] = {}
    for mul, ir in sum(irreps[1:], irreps[0]):
        total[ir] = total.get(ir, 0) + mul
    return o3.Irreps([(mul, ir) for ir, mul in sorted(total.items())])


def joined(parts: list[Tensor], irreps: o3.Irreps, scalars: Tensor | None = None) -> Tensor:
    """Features of the same irreps side by side, with more scalars."""
    blocks = [torch.cat([part[:, s] for part in parts], 1) for s in irreps.slices()]
    if scalars is not None:
        blocks[0] = torch.cat([blocks[0], scalars], 1)
    return torch.cat(blocks, 1)
