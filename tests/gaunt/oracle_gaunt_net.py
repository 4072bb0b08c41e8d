"""GauntNet atom by atom and edge by edge, with products by fine quadrature."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor

from geqlib.gaunt.power import power_variances
from geqlib.sphere.harmonics import spherical_harmonics
from tests.gaunt.oracle_gaunt import product


def powers(x: Tensor, order: int, out_degree: int) -> list[Tensor]:
    """Coefficients up to out_degree of f, ..., f^order, for x [..., (L + 1)^2]."""
    degree = round(x.size(-1) ** 0.5) - 1
    actual, known = [x], degree
    for _ in range(order - 1):
        actual.append(product((known, degree, known + degree), actual[-1], x))
        known += degree
    size = (out_degree + 1) ** 2
    return [torch.nn.functional.pad(p, (0, max(size - p.size(-1), 0)))[..., :size] for p in actual]


def weighted_powers(layer: Any, x: Tensor, element: int) -> Tensor:
    """`GauntPower` of x [C, (L + 1)^2] with natural irreps on both sides."""
    out = max(layer.irreps_out.ls)
    actual = power_variances(str(layer.irreps_in), str(layer.irreps_out), layer.order)
    variances = torch.tensor(actual, dtype=torch.float64)
    reached = (variances > 0).sum(0)
    total = torch.zeros(len(x), (out + 1) ** 2, dtype=x.dtype)
    for n, power in enumerate(powers(x, layer.order, out)):
        for ell in range(out + 1):
            if variances[n, ell] > 0:
                scale = 1 / (variances[n, ell] * reached[ell]).sqrt()
                part = slice(ell**2, (ell + 1) ** 2)
                weight = layer.weight[element, n, ell].unsqueeze(1)
                total[:, part] += scale * weight * power[:, part]
    return total


class Atoms:
    """One structure: `run` gives what GauntNet gives, for "0e" and any number of layers."""

    def __init__(self, net: Any, pos: Tensor, z: Tensor, edge_index: Tensor) -> None:
        self.net, self.pos, self.edges = net, pos, edge_index.T.tolist()
        self.element = net.species.get_buffer("elements")[z].argmax(1).tolist()
        self.count = net.species.get_buffer("elements").size(1)
        self.degree = net.harmonics.degree

    def run(self) -> Tensor:
        net = self.net
        x = [
            weighted_powers(net.power, self.scaled(self.density(i)), self.element[i])
            for i in range(len(self.pos))
        ]
        out = [self.read(net.readouts[0], x)]
        for layer, readout in zip(net.layers, net.readouts[1:], strict=True):
            x = [self.interact(layer, x, i) for i in range(len(x))]
            out.append(self.read(readout, x))
        return torch.stack(out).sum(0)

    def edge(self, j: int, i: int) -> tuple[Tensor, Tensor]:
        """Harmonics and radial functions."""
        r = self.pos[j] - self.pos[i]
        d = (r @ r + 1e-6).sqrt()
        v = r / d
        length = v.norm()
        y = spherical_harmonics(self.degree, v / length) * sqrt(4 * pi / self.net.neighbors)
        ell = torch.arange(self.degree + 1).repeat_interleave(2 * torch.arange(self.degree + 1) + 1)
        y = y * length**ell
        radial, c = self.net.radial, self.net.cutoff
        n = torch.arange(1, radial.basis.count + 1).double()
        t = (d / c).clamp(max=1)
        u = 1 - 21 * t**5 + 35 * t**6 - 15 * t**7
        b = sqrt(2 / c) * torch.sin(n * pi * d / c) / d
        return y, radial.network(u * b) * u

    def density(self, i: int) -> Tensor:
        mix = self.net.density.mix
        total = torch.zeros(mix.weight.size(1), (self.degree + 1) ** 2).double()
        for j, target in self.edges:
            if target == i:
                y, h = self.edge(j, i)
                own = slice(self.element[j] * len(h), (self.element[j] + 1) * len(h))
                total[own] += h[:, None] * y
        return linear(mix, total)

    def interact(self, layer: Any, x: list[Tensor], i: int) -> Tensor:
        total = torch.zeros(layer.before.weight.size(2), (self.degree + 1) ** 2).double()
        hidden = round(x[i].size(1) ** 0.5) - 1
        for j, target in self.edges:
            if target != i:
                continue
            y, h = self.edge(j, i)
            weight = (h @ layer.radial.weight[0] * layer.radial.scale).view(self.degree + 1, -1)
            kernel = torch.cat(
                [
                    weight[ell][:, None] * y[ell**2 : (ell + 1) ** 2]
                    for ell in range(self.degree + 1)
                ],
                1,
            )
            near = linear(layer.before, x[j])
            total += product((hidden, self.degree, self.degree), near, kernel)
        z = self.element[i]
        density = self.scaled(linear(layer.mix, total))
        actual = linear(layer.after, weighted_powers(layer.power, density, z))
        size = layer.shared
        own = torch.zeros(self.count, *x[i][:, :size].shape).double()
        own[z] = x[i][:, :size]
        own = linear(layer.skip, own.flatten(0, 1))
        return torch.cat([actual[:, :size] + own, actual[:, size:]], 1)

    def scaled(self, density: Tensor) -> Tensor:
        if not self.net.normalize:
            return density
        total = sum(float(a) ** 2 for row in density.detach() for a in row)
        return density / sqrt(1 + total / density.numel())

    def read(self, readout: Any, x: list[Tensor]) -> Tensor:
        return torch.stack([readout.maps[0](a[:, 0]) for a in x])


def linear(layer: Any, x: Tensor) -> Tensor:
    """`ComponentLinear` of x [A, k] to [B, k]."""
    columns = [x[:, k] @ layer.weight[n] * layer.scale for k, n in enumerate(layer.irrep.tolist())]
    return torch.stack(columns, 1)
