"""Irreps as functions on the sphere, and the memory layouts in which they are transformed.

An irrep of degree l and parity p belongs to a function of type tau = p (-1)^l: 1 for functions
that reflections only move (0e, 1o, 2e, ...), -1 for those that also change sign (0o, 1e, 2o, ...).
Types multiply: a product f g has the type tau1 tau2, a bracket {f, g} has -tau1 tau2, because a
reflection reverses the orientation of the sphere. The same holds for the signs s = (-1)^l of even
and odd functions under q -> -q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import Literal, cast

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.kernels.batched_product import batched_product
from geqlib.sphere.coefficients import Kind, path_exists
from geqlib.sphere.tables import Constants

Paths = Literal["gaunt", "bracket", "all"]
KINDS: dict[str, tuple[Kind, ...]] = {
    "gaunt": ("gaunt",),
    "bracket": ("bracket",),
    "all": ("gaunt", "bracket"),
}
UNIFORM = sqrt(3)  # uniform numbers between -sqrt(3) and sqrt(3) have variance 1


def read_irreps(name: str, irreps: str | o3.Irreps) -> o3.Irreps:
    """Parsed irreps in which each irrep stands once.

    Raises:
        ValueError: irreps that cannot be read, are empty, or name an irrep twice.
    """
    try:
        parsed = cast(o3.Irreps, o3.Irreps(irreps))
    except ValueError as error:
        message = f"{name}={irreps!r} cannot be read: write irreps as '8x0e+8x1o'."
        raise ValueError(message) from error
    kinds = [ir for mul, ir in parsed if mul]
    if not kinds:
        raise ValueError(f"{name}={irreps!r} holds no irreps: write for example '8x0e+8x1o'.")
    if len(set(kinds)) < len(parsed):
        raise ValueError(
            f"{name}={parsed} names an irrep twice or with multiplicity 0: merge them."
        )
    return parsed


def connected(kind: Kind, a: o3.Irrep, b: o3.Irrep, out: o3.Irrep) -> bool:
    """Whether the path a x b -> out is one of this kind."""
    return out.p == a.p * b.p and path_exists(kind, a.l, b.l, out.l)


def reachable(first: o3.Irreps, second: o3.Irreps, out: o3.Irrep, paths: Paths) -> bool:
    """Whether a product of these irreps has a path to `out`."""
    triples = product(KINDS[paths], first, second)
    return any(connected(kind, a.ir, b.ir, out) for kind, a, b in triples)


@dataclass(frozen=True)
class Signal:
    """A function on the sphere of one type: the irreps that are its coefficients.

    Args:
        tau: its type.
        sign: s, or 0 for functions that are not divided into even and odd ones.
        degrees: l of each irrep, ascending.
        blocks: the index of each irrep among the irreps of the tensor.
    """

    tau: int
    sign: int
    degrees: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def index(self) -> Tensor:
        """l^2 + l + m of each coefficient."""
        return torch.cat([torch.arange(ell * ell, (ell + 1) ** 2) for ell in self.degrees])


def signals(irreps: o3.Irreps, *, split: bool) -> tuple[Signal, ...]:
    """The functions that a tensor of these irreps consists of; with `split`, even and odd ones."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for block, (_, ir) in enumerate(irreps):
        sign = (-1) ** ir.l
        groups.setdefault((ir.p * sign, sign if split else 0), []).append((ir.l, block))
    parts = []
    for (tau, sign), pairs in sorted(groups.items(), reverse=True):
        degrees, blocks = zip(*sorted(pairs), strict=True)
        parts.append(Signal(tau, sign, degrees, blocks))
    return tuple(parts)


class Columns(nn.Module):
    """Features [n, irreps.dim] (mul_ir) to the coefficients [k, n C] of each signal, and back.

    Matrix products and products at points run fastest along long rows: over nodes and channels,
    not over the few coefficients. Both ways take two copies, each of which moves contiguous runs:
    one exchanges channels and coefficients of a node, the other nodes and coefficients.

    Args:
        irreps: of equal multiplicities C.
        parts: the signals that they consist of.
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, irreps: o3.Irreps, parts: Sequence[Signal]) -> None:
        super().__init__()
        self.channels = next(mul for mul, _ in irreps)
        self.sizes = [len(part.index) for part in parts]
        self.size = sum(self.sizes)
        numbers = torch.arange(irreps.dim)
        order = torch.cat(
            [
                numbers[irreps.slices()[block]].view(self.channels, 2 * ell + 1).T.flatten()
                for part in parts
                for ell, block in zip(part.degrees, part.blocks, strict=True)
            ]
        )
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("inverse", torch.argsort(order), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Coefficients [k, n C] of each signal."""
        rows = x.size(0)  # `flatten` and `unflatten` are refused by `hessian(vectorize=True)`
        ordered = x.index_select(1, self.order).view(rows, self.size, self.channels)
        columns = ordered.transpose(0, 1).reshape(self.size, rows * self.channels)
        return columns.split(self.sizes)

    def join(self, columns: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`."""
        whole = torch.cat(tuple(columns)) if len(columns) > 1 else columns[0]
        rows, width = whole.size(1) // self.channels, self.size * self.channels
        ordered = whole.view(self.size, rows, self.channels).transpose(0, 1).reshape(rows, width)
        return ordered.index_select(1, self.inverse)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes}, channels={self.channels})"


def to_components(x: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """mul_ir features [N, irreps.dim] to components first, [k, N, C], of equal multiplicities C.

    Args:
        sizes: (C, 2l + 1) of each irrep.
    """
    blocks = x.split([mul * dim for mul, dim in sizes], -1)
    parts = [b.unflatten(-1, size) for b, size in zip(blocks, sizes, strict=True)]
    return torch.cat(parts, -1).movedim(-1, 0)


def from_components(x: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """The inverse of `to_components`."""
    blocks = x.split([dim for _, dim in sizes], 0)
    return torch.cat([block.movedim(0, -1).flatten(-2) for block in blocks], -1)


class ComponentLinear(nn.Module):
    """Mix the channels of each irrep: [k, N, A], components first, to [k, N, B].

    Symmetry: commutes with everything that acts on the components. One matrix W_l for each degree,
    with uniform entries of variance 1 at first, divided by sqrt(A).

    Args:
        degrees: l of each irrep.
        in_channels, out_channels: A and B.
        scale: constant factor of the result.
        nodes_first: whether the result lies in memory node by node.

    Example:
        >>> ComponentLinear([0, 1], 8, 16)(torch.randn(4, 10, 8)).shape
        torch.Size([4, 10, 16])
    """

    irrep: Tensor

    def __init__(
        self,
        degrees: Sequence[int],
        in_channels: int,
        out_channels: int,
        *,
        scale: float = 1.0,
        nodes_first: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(degrees), in_channels, out_channels))
        irrep = [n for n, ell in enumerate(degrees) for _ in range(2 * ell + 1)]
        self.register_buffer("irrep", torch.tensor(irrep), persistent=False)
        self.scale, self.nodes_first = scale / sqrt(in_channels), nodes_first
        # a matrix product copies and scales in one operation, and so do its derivatives
        of_component = torch.nn.functional.one_hot(self.irrep, len(degrees)).double()
        self.copies = Constants(of_component=of_component * self.scale)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -UNIFORM, UNIFORM)

    def forward(self, x: Tensor) -> Tensor:
        weight, scale = self.weight, self.scale
        if len(self.irrep) > 1:
            copies = self.copies.table("of_component", x) @ weight.flatten(1)
            weight, scale = copies.unflatten(1, weight.shape[1:]), 1.0
        return batched_product(x, weight, scale, rows_first=self.nodes_first)

    def __repr__(self) -> str:
        _, a, b = self.weight.shape
        return f"{type(self).__name__}({a}, {b}, components={len(self.irrep)})"
