"""Convolutions over positions and orientations, and the residual block around them.

Source: Bekkers et al., "Fast, expressive SE(n) equivariant networks through weight-sharing in
position-orientation space" (ICLR 2024, arXiv 2310.02970). With kernels k = W phi and U psi, linear
maps of one learnt basis (`KernelBasis`), and r_ij = p_j - p_i,

    y1[i, o] = sum_j k(r_ij, o) x[j, o]                eq. 8    PositionOrientationConv
    y[i, p]  = 1/O sum_o (U psi)(p, o) y1[i, o] + b    eq. 9    FiberConv

channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from torch_geometric.nn.aggr import Aggregation, SumAggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.kernels.edge_product import edge_product
from geqlib.kernels.transpose import transposed
from geqlib.ponita.kernel import Basis


@dataclass(frozen=True)
class LayerKernels:
    """Kernels of one layer on one batch: see `layer_kernels`.

    Args:
        spatial: W phi of the edges, then of each node and itself, [R + K, O, C]; if factored
            W_m phi, [R + K, M, C].
        fiber: U psi, [C, source orientation, target orientation]; None without a fiber part.
    """

    spatial: Tensor
    fiber: Tensor | None


def layer_kernels(layers: Sequence[PositionOrientationConv], basis: Basis) -> list[LayerKernels]:
    """The kernels of layers of the same shape: one matrix product for all of them."""
    first = layers[0]
    spatial = linear(basis.value, torch.cat([layer.kernel.weight for layer in layers]))
    parts = spatial.split(first.kernel.out_features, -1)
    if first.harmonics:
        parts = [part.unflatten(-1, (first.harmonics, first.channels)) for part in parts]
    if first.fiber is None or basis.fiber is None:
        return [LayerKernels(part, None) for part in parts]
    weight = torch.cat([layer.fiber.kernel.weight for layer in layers if layer.fiber is not None])
    fibers = fiber_kernels(weight, basis.fiber).split(first.channels)
    return [LayerKernels(*pair) for pair in zip(parts, fibers, strict=True)]


def fiber_kernels(weight: Tensor, psi: Tensor) -> Tensor:
    """U psi, [C, source, target], of weights U [C, B] and values psi [target, source, B]."""
    psi = psi.transpose(0, 1)
    return (weight @ psi.flatten(0, 1).mT).unflatten(1, psi.shape[:2])


class PositionOrientationConv(nn.Module):
    """Depthwise convolution over R^n, R^n x S^(n-1) or SE(3).

    Symmetry: that of the basis: exact for the rotations of the grid's group, and for all rotations
    with one orientation per node (see `geqlib.nn.KernelBasis`). Source: Bekkers et al. (ICLR 2024,
    arXiv 2310.02970), eq. 8 and 9. With k = W phi, a separable layer computes

        y1[i, o] = sum_j k(r_ij, o) x[j, o],    y[i, p] = 1/O sum_o (U psi)(p, o) y1[i, o] + b

    and a full one y[i, p] = 1/O sum_j sum_o k(r_ij, p, o) x[j, o] + b, all channel by channel.

    Args:
        channels: C.
        basis: B, as of the `KernelBasis` that makes the basis values.
        harmonics: M of a factored basis, `KernelBasis.harmonics`; 0 for others.
        separable: whether the basis has a fiber part: False for full kernels (an [R, O, O, C]
            tensor), for R^n, and with one orientation per node.
        bias: whether to add b.
        aggr: the sum over neighbours, or any aggregation of torch_geometric, by name or as a
            module, in its place. Aggregations see sets of [C] features, one set per node and
            orientation.
        aggr_kwargs: no longer taken.

    Initial kernels are scaled by 1 / sqrt(B), whatever the data: nothing is calibrated in
    `forward`.

    Raises:
        ValueError: features or a basis of other sizes than the layer was built for.

    Example:
        >>> from geqlib.sphere.grids import sphere_grid
        >>> from geqlib.nn import KernelBasis
        >>> kernel = KernelBasis("R3xS2", 8, grid=sphere_grid(12))
        >>> conv = PositionOrientationConv(4, 8)
        >>> pos, edge_index = torch.randn(5, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> conv(torch.randn(5, 12, 4), kernel(pos, edge_index)).shape
        torch.Size([5, 12, 4])
    """

    def __init__(
        self,
        channels: int,
        basis: int,
        *,
        harmonics: int = 0,
        separable: bool = True,
        bias: bool = True,
        aggr: str | Aggregation = "sum",
        aggr_kwargs: None = None,
    ) -> None:
        super().__init__()
        if aggr_kwargs is not None:
            raise ValueError(
                "aggr_kwargs is no longer taken: build the aggregation and pass it as a module, "
                "such as aggr=SoftmaxAggregation(t=2.0)."
            )
        self.channels, self.basis, self.harmonics = channels, basis, harmonics
        self.aggr = aggregation_resolver(aggr)
        self.kernel = nn.Linear(basis, max(harmonics, 1) * channels, bias=False)
        self.fiber = FiberConv(channels, basis) if separable else None
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.kernel.weight, std=1 / sqrt(self.basis * max(self.harmonics, 1)))
        self.aggr.reset_parameters()
        if self.fiber is not None:
            self.fiber.reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, basis: Basis, kernels: LayerKernels | None = None) -> Tensor:
        """Convolve x [N, O, C]; O = 1 for R^n and with one orientation per node.

        `kernels`, made before for several layers, are one of `layer_kernels(layers, basis)`.
        """
        self._check(x, basis)
        if kernels is None:
            (kernels,) = layer_kernels([self], basis)
        summed = isinstance(self.aggr, SumAggregation) and basis.value.dim() < 4
        y = (self._sum if summed else self._aggregate)(x, basis, kernels.spatial)
        if kernels.fiber is not None:
            return fiber_mean(y, kernels.fiber, self.bias)
        return y if self.bias is None else y + self.bias

    def _sum(self, x: Tensor, basis: Basis, kernel: Tensor) -> Tensor:
        """Eq. 8: y1[i, o] = sum_j k(r_ij, o) x[j, o], with k(0, o) x[i, o] of the node itself."""
        options = {"antipode": basis.antipode, "rows": basis.rows}
        if basis.harmonics is None:
            return edge_product(x, kernel, basis.plan, **options)
        return edge_product(x, basis.harmonics, basis.plan, weight=kernel, **options)

    def _aggregate(self, x: Tensor, basis: Basis, kernel: Tensor) -> Tensor:
        """The same with all messages in one tensor, for full kernels and other aggregations."""
        plan, paired = basis.plan, basis.plan.paired
        kernel = kernel if basis.harmonics is None else torch.bmm(basis.harmonics, kernel)
        kernel, loop = kernel.split([plan.edge.size(0), kernel.size(0) - plan.edge.size(0)])
        messages = [_message(kernel, x.index_select(0, plan.source))]
        if paired:
            back = _opposite(x, basis).index_select(0, plan.target[:paired])
            messages.append(_opposite(_message(kernel[:paired], back), basis))
        messages.append(_message(loop, x))
        nodes = torch.arange(plan.num_nodes, device=x.device)
        index = torch.cat([plan.target, plan.source[:paired], nodes])
        # aggregations want sorted sets: one per orientation and node
        index, order = torch.sort(index, stable=True)
        message = torch.cat(messages).index_select(0, order).transpose(0, 1)
        orientations = message.size(0)
        sets = index + plan.num_nodes * torch.arange(orientations, device=x.device)[:, None]
        out = self.aggr(
            message.flatten(0, 1), sets.flatten(), dim_size=orientations * plan.num_nodes
        )
        return out.view(orientations, plan.num_nodes, out.size(-1)).transpose(0, 1)

    def _check(self, x: Tensor, basis: Basis) -> None:
        if x.size(-1) != self.channels:
            raise ValueError(f"x has {x.size(-1)} channels, but the layer has {self.channels}.")
        if basis.value.size(-1) != self.basis:
            raise ValueError(
                f"the kernel basis has {basis.value.size(-1)} functions, but the layer was built "
                f"for {self.basis}."
            )
        harmonics = 0 if basis.harmonics is None else basis.harmonics.size(-1)
        if harmonics != self.harmonics:
            raise ValueError(
                f"the kernel basis has {harmonics} harmonics, but the layer was built for "
                f"{self.harmonics}: pass harmonics=kernel.harmonics."
            )
        if (self.fiber is None) != (basis.fiber is None):
            raise ValueError(
                f"the kernel basis {'lacks' if basis.fiber is None else 'has'} a fiber part: build "
                f"the layer with separable={basis.fiber is not None}."
            )
        if x.dim() != 3 or x.size(1) != basis.orientations:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected [nodes, {basis.orientations} "
                "orientations, channels]."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, basis={self.basis}, aggr={self.aggr})"


class FiberConv(nn.Module):
    """Depthwise convolution over the orientations of each node.

    y[n, p] = 1/O sum_o (U psi)(p, o) x[n, o], channel by channel (Bekkers et al., eq. 9).

    Args:
        channels: C.
        basis: B of the fiber basis psi.

    Shapes:
        x [N, O, C], psi [O, O, B], output [N, O, C].

    Example:
        >>> conv = FiberConv(4, 8)
        >>> conv(torch.randn(5, 12, 4), torch.randn(12, 12, 8)).shape
        torch.Size([5, 12, 4])
    """

    def __init__(self, channels: int, basis: int) -> None:
        super().__init__()
        self.channels, self.basis = channels, basis
        self.kernel = nn.Linear(basis, channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.kernel.weight, std=1 / sqrt(self.basis))

    def forward(self, x: Tensor, psi: Tensor) -> Tensor:
        return fiber_mean(x, fiber_kernels(self.kernel.weight, psi))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, basis={self.basis})"


def fiber_mean(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Eq. 9: y[n, p, c] = 1/O sum_o kernel[c, o, p] x[n, o, c] + b[c]."""
    nodes, orientations, channels = x.shape
    # one matrix product per channel, of matrices that lie in one piece
    x = transposed(x.flatten(0, 1), 1 / orientations).view(channels, nodes, orientations)
    y = torch.bmm(x, kernel) if bias is None else torch.baddbmm(bias.view(-1, 1, 1), x, kernel)
    return transposed(y.flatten(1)).view(nodes, orientations, channels)


class ConvNeXtBlock(nn.Module):
    """x + s W2 gelu(W1 norm(conv(x))): equivariant because all but conv acts on channels alone.

    Args:
        conv: the position-orientation convolution.
        widen: hidden width in units of the channels.
        layer_scale: initial value of s, one per channel; None for s = 1.
        dropout: of the hidden features.
    """

    def __init__(
        self,
        conv: PositionOrientationConv,
        *,
        widen: int = 4,
        layer_scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = conv.channels
        self.widen = widen
        self.conv = conv
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, widen * channels)
        self.contract = nn.Linear(widen * channels, channels)
        # dropout of nothing still draws random numbers
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.initial_scale = layer_scale
        self.layer_scale = None
        if layer_scale is not None:
            self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def reset_parameters(self) -> None:
        for part in (self.conv, self.norm, self.expand, self.contract):
            part.reset_parameters()
        if self.layer_scale is not None and self.initial_scale is not None:
            nn.init.constant_(self.layer_scale, self.initial_scale)

    def forward(self, x: Tensor, basis: Basis, kernels: LayerKernels | None = None) -> Tensor:
        h = gelu(self.expand(self.norm(self.conv(x, basis, kernels))))
        h = self.contract(self.dropout(h))
        return x + h if self.layer_scale is None else torch.addcmul(x, self.layer_scale, h)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.conv.channels}, widen={self.widen})"


def _message(kernel: Tensor, x: Tensor) -> Tensor:
    """Kernels times features: pointwise, or the mean over source orientations if full."""
    if kernel.dim() < 4:
        return kernel * x
    return torch.einsum("rpoc,roc->rpc", kernel / x.size(1), x)


def _opposite(x: Tensor, basis: Basis) -> Tensor:
    """Exchange each orientation with its opposite."""
    return x if basis.antipode is None else x.index_select(1, basis.antipode)
