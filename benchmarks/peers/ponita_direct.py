"""The published PONITA, written directly: the peer in speed, and an oracle in the tests.

Bekkers et al. (ICLR 2024): the kernel basis is evaluated at every directed edge (self-loops
included) and every orientation, from raw tensor powers of the attributes, and plain autograd
keeps what it needs.
"""

from __future__ import annotations

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
        out = pos.new_zeros(pos.size(0), model.out_vectors, 3)
        for block, read in zip(model.blocks, model.vectors, strict=True):
            h = h + self._block(block, h, phi, psi, source, target)
            out = out + torch.einsum("nov,od->nvd", read(h), grid) / len(grid)
        return out / len(model.blocks)

    def _spatial_basis(self, offset: Tensor, grid: Tensor, edge_attr: Tensor | None) -> Tensor:
        along = (offset[:, None] * grid).sum(-1, keepdim=True)
        across = (offset[:, None] - along * grid).norm(dim=-1, keepdim=True)
        features = _powers(torch.cat([along, across], -1), 3)
        return _network(self.model.kernel.edge, features, 2, 3, edge_attr)

    @staticmethod
    def _block(
        block: nn.Module, h: Tensor, phi: Tensor, psi: Tensor, source: Tensor, target: Tensor
    ) -> Tensor:
        message = linear(phi, block.conv.kernel.weight) * h[source]
        y = torch.zeros_like(h).index_add_(0, target, message)
        y = torch.einsum("poc,noc->npc", linear(psi, block.conv.fiber.kernel.weight), y)
        y = y / h.size(1) + block.conv.bias
        y = layer_norm(y, y.shape[-1:], block.norm.weight, block.norm.bias, block.norm.eps)
        return block.contract(gelu(block.expand(y)))


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
    terms = [tuple(sorted(t)) for t in _terms(attributes, degree)]
    distinct = list(dict.fromkeys(terms))
    copies = first.weight.new_tensor([terms.count(t) for t in terms])
    column = torch.tensor([distinct.index(t) for t in terms])
    weight = first.weight[:, : len(distinct)][:, column] / copies
    if extra is not None:
        features = torch.cat([features, extra[:, None].expand(-1, features.size(1), -1)], -1)
        weight = torch.cat([weight, first.weight[:, len(distinct) :]], 1)
    return gelu(second(gelu(linear(features, weight, first.bias))))


def _terms(attributes: int, degree: int) -> list[tuple[int, ...]]:
    power: list[tuple[int, ...]] = [(k,) for k in range(attributes)]
    terms = list(power)
    for _ in range(degree - 1):
        power = [(*t, k) for t in power for k in range(attributes)]
        terms += power
    return terms
