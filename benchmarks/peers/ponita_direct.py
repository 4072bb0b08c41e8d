"""The published PONITA, written directly: the peer in speed, and an oracle in the tests.

Bekkers et al. (ICLR 2024): the kernel basis is evaluated at every directed edge (self-loops
included) and every orientation, from raw tensor powers of the attributes, and plain autograd
keeps what it needs.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from geqlib.models import PONITA


class DirectPONITA(nn.Module):
    """The function of a given R^3 x S^2 `PONITA` with vectors out, on its parameters."""

    def __init__(self, model: PONITA) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        vec: Tensor,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        model = self.model
        h, phi, psi, source, target = self._start(pos, edge_index, x, vec, edge_attr)
        grid = model.kernel.grid.to(pos.dtype)
        out = pos.new_zeros(pos.size(0), model.out_vectors, 3)
        for block, read in zip(model.blocks, model.vectors, strict=True):
            h = h + self._block(block, h, phi, psi, source, target)
            out = out + torch.einsum("nov,od->nvd", read(h), grid) / len(grid)
        return out / len(model.blocks)

    def calibrate(self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor) -> None:
        """Scale both kernels of each layer so that features keep their standard deviation."""
        h, phi, psi, source, target = self._start(pos, edge_index, x, vec, None)
        for block in self.model.blocks:
            conv = block.conv
            y = self._positions(conv, h, phi, source, target)
            z = self._orientations(conv, y, psi)
            conv.kernel.weight.mul_(h.std() / y.std())
            conv.fiber.kernel.weight.mul_(y.std() / z.std())
            h = h + self._block(block, h, phi, psi, source, target)

    def _start(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        vec: Tensor,
        edge_attr: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Lifted features, both bases, and the edges with self-loops."""
        model, kernel = self.model, self.model.kernel
        grid = kernel.grid.to(pos.dtype)
        loops = torch.arange(pos.size(0), device=pos.device)
        source, target = torch.cat([edge_index, loops.expand(2, -1)], 1)
        if edge_attr is not None:
            edge_attr = torch.cat([edge_attr, edge_attr.new_zeros(len(loops), edge_attr.size(1))])
        phi = self._spatial_basis(pos[source] - pos[target], grid, edge_attr)
        psi = _network(kernel.fiber[1:], _powers((grid @ grid.T)[..., None], 3), 1, 3)
        h = model.embed_scalars(x)[:, None] + model.embed_vectors(
            torch.einsum("od,nvd->nov", grid, vec)
        )
        return h, phi, psi, source, target

    def _spatial_basis(self, offset: Tensor, grid: Tensor, edge_attr: Tensor | None) -> Tensor:
        along = (offset[:, None] * grid).sum(-1, keepdim=True)
        across = (offset[:, None] - along * grid).norm(dim=-1, keepdim=True)
        features = _powers(torch.cat([along, across], -1), 3)
        return _network(self.model.kernel.edge, features, 2, 3, edge_attr)

    @staticmethod
    def _positions(
        conv: nn.Module, h: Tensor, phi: Tensor, source: Tensor, target: Tensor
    ) -> Tensor:
        message = linear(phi, conv.kernel.weight) * h[source]
        return torch.zeros_like(h).index_add_(0, target, message)

    @staticmethod
    def _orientations(conv: nn.Module, y: Tensor, psi: Tensor) -> Tensor:
        return torch.einsum("poc,noc->npc", linear(psi, conv.fiber.kernel.weight), y) / y.size(1)

    def _block(
        self,
        block: nn.Module,
        h: Tensor,
        phi: Tensor,
        psi: Tensor,
        source: Tensor,
        target: Tensor,
    ) -> Tensor:
        y = self._positions(block.conv, h, phi, source, target)
        y = self._orientations(block.conv, y, psi) + block.conv.bias
        y = layer_norm(y, y.shape[-1:], block.norm.weight, block.norm.bias, block.norm.eps)
        y = block.contract(gelu(block.expand(y)))
        return y if block.layer_scale is None else block.layer_scale * y


class PublishedPONITA(nn.Module):
    """The published network for charged balls, to be trained as a peer.

    Kernels are calibrated as in the authors' code: in the first training step each is divided by
    the growth of the standard deviation over its convolution. Of that code it differs in the grid,
    which is fixed here and drawn at random there, and in He's initialisation of the basis.

    Args:
        channels, basis, layers, orientations, layer_scale: see `PONITA`; as published by default.
    """

    calibrated: Tensor

    def __init__(
        self,
        *,
        channels: int = 128,
        basis: int = 256,
        layers: int = 5,
        orientations: int = 16,
        layer_scale: float | None = 1e-6,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "basis": basis, "layers": layers}
        model = PONITA(1, 1, 0, 1, orientations=orientations, layer_scale=layer_scale, **sizes)
        self.direct = DirectPONITA(model)
        self.register_buffer("calibrated", torch.tensor(False))

    def forward(self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor) -> Tensor:
        """Displacements [N, 1, 3]."""
        if self.training and not self.calibrated:
            self.calibrated.fill_(True)
            with torch.no_grad():
                self.direct.calibrate(pos, edge_index, x, vec)
        return self.direct(pos, edge_index, x, vec)


def _powers(a: Tensor, degree: int) -> Tensor:
    """Raw tensor powers of degree 1 to `degree`: 14 features of 2 attributes at degree 3."""
    power, features = a, [a]
    for _ in range(degree - 1):
        power = (power[..., None] * a[..., None, :]).flatten(-2)
        features.append(power)
    return torch.cat(features, -1)


def _network(
    layers: nn.Module, features: Tensor, attributes: int, degree: int, extra: Tensor | None = None
) -> Tensor:
    """The basis network, its first weights spread over the copies of each monomial."""
    first, _, second, _ = layers
    column, copies = _monomials(attributes, degree, first.weight.device)
    distinct = len({tuple(sorted(t)) for t in _terms(attributes, degree)})
    weight = first.weight[:, :distinct][:, column] / copies.to(first.weight)
    if extra is not None:
        features = torch.cat([features, extra[:, None].expand(-1, features.size(1), -1)], -1)
        weight = torch.cat([weight, first.weight[:, distinct:]], 1)
    return gelu(second(gelu(linear(features, weight, first.bias))))


@cache  # copied to the device once: a step that copies cannot be replayed
def _monomials(attributes: int, degree: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The column of each power's monomial, and in how many powers that monomial is."""
    terms = [tuple(sorted(t)) for t in _terms(attributes, degree)]
    distinct = list(dict.fromkeys(terms))
    column = torch.tensor([distinct.index(t) for t in terms], device=device)
    return column, torch.tensor([terms.count(t) for t in terms], device=device)


def _terms(attributes: int, degree: int) -> list[tuple[int, ...]]:
    power: list[tuple[int, ...]] = [(k,) for k in range(attributes)]
    terms = list(power)
    for _ in range(degree - 1):
        power = [(*t, k) for t in power for k in range(attributes)]
        terms += power
    return terms
