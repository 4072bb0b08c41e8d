"""Convolutions over positions and over orientations."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation, SumAggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.kernels.gather import gather_scatter
from geqlib.ponita.basis import Basis


class PositionOrientationConv(nn.Module):
    """Depthwise convolution over R^n, R^n x S^(n-1) or SE(3).

    Symmetry: that of the basis: exact for the rotations of the grid's group, and for all rotations
    with one orientation a node (see `geqlib.nn.KernelBasis`). Source: Bekkers et al. (ICLR 2024,
    arXiv 2310.02970), eq. 8 and 9. With k = W phi, a separable layer computes

        y1[i, o] = sum_j k(r_ij, o) x[j, o],    y[i, p] = 1/O sum_o (U psi)(p, o) y1[i, o] + b

    and a full one y[i, p] = 1/O sum_j sum_o k(r_ij, p, o) x[j, o] + b, all channel by channel.

    Args:
        channels: C.
        basis: B, as of the `KernelBasis` that makes the basis values.
        harmonics: M of a factored basis, `KernelBasis.harmonics`; 0 for others.
        separable: whether the basis has a fiber part: False for full kernels (an [R, O, O, C]
            tensor), for R^n, and with one orientation a node.
        bias: whether to add b.
        aggr: the sum over neighbours, or any aggregation of torch_geometric, by name or as a
            module, in its place. Aggregations see sets of [C] features, one set a node and
            orientation.
        aggr_kwargs: arguments of an aggregation that is given by name.

    Initial kernels are scaled by 1 / sqrt(B), whatever the data: nothing is calibrated in
    `forward`.

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
        aggr_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.basis, self.harmonics = channels, basis, harmonics
        self.aggr = aggregation_resolver(aggr, **(aggr_kwargs or {}))
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

    def forward(self, x: Tensor, basis: Basis) -> Tensor:
        """Convolve x [N, O, C]; O = 1 for R^n and with one orientation a node."""
        if x.size(-1) != self.channels:
            raise ValueError(f"x has {x.size(-1)} channels, but the layer has {self.channels}.")
        self._check(x, basis)
        y = self._spatial(x, basis)
        if self.fiber is not None and basis.fiber is not None:
            y = self.fiber(y, basis.fiber)
        return y if self.bias is None else y + self.bias

    def _check(self, x: Tensor, basis: Basis) -> None:
        if basis.edge.size(-1) != self.basis:
            raise ValueError(
                f"the kernel basis has {basis.edge.size(-1)} functions, but the layer was built "
                f"for {self.basis}."
            )
        given = 0 if basis.angle is None else basis.angle.size(-1)
        if given != self.harmonics:
            raise ValueError(
                f"the kernel basis has {given} harmonics, but the layer was built for "
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

    def _spatial(self, x: Tensor, basis: Basis) -> Tensor:
        kernel = self._kernel(basis.edge, basis.angle)
        loop = None
        if basis.loop is not None:
            loop = _transport(self._kernel(basis.loop, basis.loop_angle), x)
        if isinstance(self.aggr, SumAggregation) and kernel.dim() < 4:
            y = _sum_over_rows(kernel, x, basis)
            return y if loop is None else y + loop
        return self._aggregate(kernel, x, basis, loop)

    def _kernel(self, value: Tensor, angle: Tensor | None) -> Tensor:
        """W phi, [R, O, C]; if factored sum_m (W_m phi) Y_m."""
        kernel = self.kernel(value)
        if angle is None:
            return kernel
        return torch.bmm(angle, kernel.view(-1, self.harmonics, self.channels))

    def _aggregate(self, kernel: Tensor, x: Tensor, basis: Basis, loop: Tensor | None) -> Tensor:
        """Messages as one tensor [M, O, C], for aggregations that need to see them all."""
        plan, paired = basis.plan, basis.plan.paired
        messages = [_transport(kernel, x.index_select(0, plan.source))]
        index = [plan.target]
        if paired:
            back = _transport(
                kernel[:paired], _turn(x, basis).index_select(0, plan.target[:paired])
            )
            messages.append(_turn(back, basis))
            index.append(plan.source[:paired])
        if loop is not None:
            messages.append(loop)
            index.append(torch.arange(plan.num_nodes, device=x.device))
        message, where = torch.cat(messages), torch.cat(index)
        return self._reduce(message, where, plan.num_nodes)

    def _reduce(self, message: Tensor, index: Tensor, num_nodes: int) -> Tensor:
        """Aggregate the set of every (orientation, node) apart; sets are sorted by their index."""
        index, order = torch.sort(index, stable=True)
        message = message.index_select(0, order)
        orientations = message.size(1)
        sets = index + num_nodes * torch.arange(orientations, device=index.device)[:, None]
        flat = message.transpose(0, 1).flatten(0, 1)
        out = self.aggr(flat, sets.flatten(), dim_size=orientations * num_nodes)
        return out.view(orientations, num_nodes, out.size(-1)).transpose(0, 1)

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
        kernel = self.kernel(psi) / x.size(1)
        # one matrix product a channel: products of strided matrices would copy them one by one
        y = torch.bmm(_transposed(x, (2, 0, 1)), _transposed(kernel, (2, 1, 0)))
        return _transposed(y, (1, 2, 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, basis={self.basis})"


def _transposed(x: Tensor, order: tuple[int, int, int]) -> Tensor:
    if torch.compiler.is_compiling():  # see `gather_scatter`
        return x.permute(order).contiguous()
    return _Transposed.apply(x, order)


class _Transposed(torch.autograd.Function):
    """x.permute(order), contiguous, and so are its derivatives."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.order = inputs[1]

    @staticmethod
    def forward(x: Tensor, order: tuple[int, int, int]) -> Tensor:
        return x.permute(order).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        back = tuple(ctx.order.index(k) for k in range(3))
        return _Transposed.apply(grads[0], back), None


def _transport(kernel: Tensor, x: Tensor) -> Tensor:
    """Kernel times feature a row: pointwise, or the mean over source orientations if full."""
    if kernel.dim() < 4:
        return kernel * x
    return torch.einsum("rpoc,roc->rpc", kernel / x.size(1), x)


def _turn(x: Tensor, basis: Basis) -> Tensor:
    """Swap each orientation with its opposite."""
    return x if basis.antipode is None else x.index_select(1, basis.antipode)


def _sum_over_rows(kernel: Tensor, x: Tensor, basis: Basis) -> Tensor:
    plan, paired = basis.plan, basis.plan.paired
    y = gather_scatter(kernel, x, plan.source, plan.target)
    if not paired:
        return y
    turned = _turn(x, basis)
    back = gather_scatter(kernel[:paired], turned, plan.target[:paired], plan.source[:paired])
    return y + _turn(back, basis)
