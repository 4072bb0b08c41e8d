"""Messages in the frame of the edge, where they are one-dimensional for every order."""

from __future__ import annotations

from math import pi

import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.wigner import EdgeFrames
from geqlib.kernels.edge_sum import edge_sum
from geqlib.sphere.harmonics import gauss_legendre, polar_parts
from geqlib.sphere.tables import Constants

TINY = 1e-12  # squared length of a direction that is none


class AlignedMessages(Constants):
    """x_j turned such that the edge is the polar axis, multiplied order by order, turned back.

    Source: Passaro, Zitnick (ICML 2023, arXiv 2302.03655) for the frame; Luo et al. for products
    in it. There k_ij = sum_l w_l |v|^l sqrt((2l + 1) / 4pi) P_l0(t) depends on the polar angle t
    alone, so that orders m do not mix: values sum_l x_lm P_lm(t) at the nodes of a Gauss-Legendre
    rule, times k_ij(t), and sums over the nodes.

    Arguments and shapes are those of `GridMessages`.
    """

    place: Tensor
    inverse: Tensor

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int) -> None:
        tops = max(irreps_in.ls), degree, max(irreps_out.ls)
        angle, weights = gauss_legendre(sum(tops))
        values = polar_parts(max(tops), angle).value
        top = max(tops[0], tops[2])
        types = sorted({ir.p * (-1) ** ir.l for _, ir in irreps_in}, reverse=True)
        circle = torch.full((2 * top + 1, 1, 1), pi, dtype=torch.float64)
        circle[top] = 2 * pi  # integrals of cos(m p)^2
        ell = torch.arange(degree + 1, dtype=torch.float64).unsqueeze(1)
        super().__init__(
            place=_components(irreps_in, top).clamp(min=0).flatten(),
            inverse=_slots(irreps_out, top),
            there=torch.cat([_polar(irreps_in, top, tau, values).mT for tau in types], 1),
            back=torch.cat([_polar(irreps_out, top, tau, values * weights) for tau in types], 2)
            * circle,
            kernel=(values[0, : degree + 1] * ((2 * ell + 1) / (4 * pi)).sqrt()).T.contiguous(),
        )
        self.sizes = [[ir.dim for _, ir in irreps] for irreps in (irreps_in, irreps_out)]
        self.degree, self.types = degree, len(types)
        self.frames = EdgeFrames(top)

    def forward(
        self, rows: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor
    ) -> Tensor:
        features = rows.transpose(0, 1).flatten(1)
        orders, points, _ = self.get_buffer("there").shape
        channels = rows.size(2)
        size = 2 * (orders * points + rows.size(0)) * channels
        edges = direction, weight
        sums = edge_sum(self._message, features, edges, *edge_index.unbind(0), size=size)
        return sums.unflatten(1, (-1, channels)).transpose(0, 1)

    def _message(self, near: Tensor, direction: Tensor, weight: Tensor) -> Tensor:
        edges, degrees, channels = weight.shape
        square = (direction * direction).sum(1, keepdim=True)
        there = square > TINY
        length = torch.where(there, square, 1.0).sqrt()
        axis = direction.new_tensor([0.0, 1.0, 0.0])
        turns = self.frames(torch.where(there, direction / length, axis))
        length = torch.where(there, length, 0.0)
        powers = torch.cat([length**ell for ell in range(degrees)], 1).unsqueeze(2)
        kernel = self.table("kernel", near) @ (weight * powers).transpose(0, 1).flatten(1)
        x = _turned(near.unflatten(1, (-1, channels)), turns, self.sizes[0], back=False)
        z = self._multiply(x.transpose(0, 1).flatten(1), kernel)
        z = z.unflatten(1, (edges, channels)).transpose(0, 1)
        return _turned(z, turns, self.sizes[1], back=True).flatten(1)

    def _multiply(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Components [k_in, W] in the frame to those of the product with k_ij(t) [angles, W]."""
        there, back = self.table("there", x), self.table("back", x)
        x = x.index_select(0, self.place).unflatten(0, (there.size(0), -1))
        values = torch.bmm(there, x).unflatten(1, (self.types, -1)) * kernel
        return torch.bmm(back, values.flatten(1, 2)).flatten(0, 1).index_select(0, self.inverse)

    def __repr__(self) -> str:
        angles = len(self.get_buffer("kernel"))
        return f"{type(self).__name__}(degree={self.degree}, angles={angles})"


def _turned(x: Tensor, turns: list[Tensor], sizes: list[int], *, back: bool) -> Tensor:
    """[E, k, C] to the frames of the edges, or back from them."""
    blocks = [
        torch.bmm(turns[size // 2].mT if back else turns[size // 2], block)
        for block, size in zip(x.split(sizes, 1), sizes, strict=True)
    ]
    return torch.cat(blocks, 1)


def _components(irreps: o3.Irreps, top: int) -> Tensor:
    """[orders, irreps] row of the component with order m = -top, ..., top; -1 if there is none."""
    found, start = torch.full((2 * top + 1, len(irreps)), -1), 0
    for place, (_, ir) in enumerate(irreps):
        found[top - ir.l : top + ir.l + 1, place] = torch.arange(start, start + ir.dim)
        start += ir.dim
    return found


def _slots(irreps: o3.Irreps, top: int) -> Tensor:
    """[k] the place of each component among [orders, irreps]."""
    components = _components(irreps, top).flatten()
    kept = (components >= 0).nonzero().flatten()
    return kept[torch.argsort(components[kept])]


def _polar(irreps: o3.Irreps, top: int, tau: int, values: Tensor) -> Tensor:
    """[orders, irreps, angles] P_lm for irreps of type tau, 0 for the others."""
    order = torch.arange(-top, top + 1).abs()
    parts = [values[order, ir.l] * float(ir.p * (-1) ** ir.l == tau) for _, ir in irreps]
    return torch.stack(parts, 1)
