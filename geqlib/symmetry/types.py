"""How tensors transform: types as values, and rotations of what has a type.

A type is a short text. With R in O(d), g = (R, t, permutation of nodes, permutation of edges) maps

    "scalar"      [N, ...]       unchanged
    "point"       [N, ..., d]    x -> R x + t
    "vector"      [N, ..., d]    x -> R x
    "4x0e+2x1o"   [N, ..., dim]  x -> D(R) x, e3nn irreps: real basis, polar axis y, parity included
    "edge_index"  [2, E]         node numbers are relabelled
    "edge_scalar" [E, ...]       unchanged, the same as "edge:scalar"
    "pair_index"  [2, P]         node numbers are relabelled, of pairs that are no edges
    "index"       [N, ...]       integers, unchanged
    "batch"       [N]            graph of each node: nodes are only exchanged within their graph

The first axis numbers nodes and follows their permutation, unless the type says "edge:..." (it
follows the permutation of the edges), "pair:..." (of pairs of nodes, which stay in their order) or
"graph:..." (it stays, also for a 0-dimensional output).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from geqlib.sphere.harmonics import wigner

_NAMED = {
    "index": ("node", "scalar"),
    "batch": ("node", "batch"),
    "edge_index": ("edge", "edge_index"),
    "edge_scalar": ("edge", "scalar"),
    "pair_index": ("pair", "edge_index"),
}


@dataclass(frozen=True)
class TensorType:
    """A parsed type.

    Args:
        where: what error messages call the tensor, such as "input 'pos'".
        text: the type as it was written.
        level: "node", "edge", "pair" or "graph": what the tensor has one entry of along its axis.
        kind: "scalar", "point", "vector", "batch", "edge_index" or irreps.
    """

    where: str
    text: str
    level: str
    kind: str

    @property
    def axis(self) -> int:
        """The axis that numbers nodes, edges or graphs."""
        return 1 if self.kind == "edge_index" else 0

    @property
    def rotates(self) -> bool:
        return self.kind not in ("scalar", "batch", "edge_index")

    @property
    def cartesian(self) -> bool:
        return self.kind in ("point", "vector")

    @property
    def degree(self) -> int:
        """Highest degree of its irreps; -1 for all other types."""
        if self.cartesian or not self.rotates:
            return -1
        from e3nn import o3

        irreps = cast(o3.Irreps, o3.Irreps(self.kind))
        return max(irreps.ls)

    @property
    def pseudoscalar(self) -> bool:
        """Whether it is irreps of which some are 0o, which reflections negate."""
        if self.cartesian or not self.rotates:
            return False
        from e3nn import o3

        return any(str(ir) == "0o" for _, ir in cast(o3.Irreps, o3.Irreps(self.kind)))

    def width(self, dim: int) -> int:
        """Size of the last axis in a space of `dim` dimensions, of a type that rotates."""
        return dim if self.cartesian else irreps_dim(self.kind)


Typed = Mapping[str, tuple[Tensor, TensorType]]


def parse_type(where: str, text: str) -> TensorType:
    """A type from its text; `where` is what an error names.

    Raises:
        ValueError: an unknown type.

    Example:
        >>> parse_type("the output", "graph:vector").level
        'graph'
    """
    level, _, kind = text.rpartition(":")
    level, kind = _NAMED.get(text, (level or "node", kind))
    valid = text in _NAMED or kind in ("scalar", "point", "vector") or irreps_dim(kind) > 0
    if not valid or level not in ("node", "edge", "pair", "graph"):
        raise ValueError(
            f"{where} has the unknown type {text!r}: write 'scalar', 'point', 'vector' or e3nn "
            "irreps such as '4x0e+2x1o', after 'graph:', 'edge:' or 'pair:' if it is not "
            "per node, or 'index', 'batch', 'edge_index', 'edge_scalar', 'pair_index'."
        )
    return TensorType(where, text, level, kind)


def parse_input(where: str, pair: tuple[Tensor, str]) -> tuple[Tensor, TensorType]:
    """A tensor and its type, from the pair that a user wrote."""
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Tensor)):
        raise ValueError(f"{where} must be a pair (tensor, type), got {type(pair).__name__}.")
    return pair[0], parse_type(where, pair[1])


def irreps_dim(text: str) -> int:
    """Dimension of an irreps string, 0 if it is none."""
    from e3nn import o3  # here, as e3nn takes a second to import

    try:
        return o3.Irreps(text).dim
    except ValueError:
        return 0


def rotate(
    x: Tensor, type_: TensorType, matrix: Tensor, wigner: Sequence[Tensor] | None = None
) -> Tensor:
    """Rotate, or reflect, a tensor that has a type.

    Args:
        x: [n, ..., width].
        type_: of x; what does not rotate is returned as it is.
        matrix: [d, d] for all of x, or [n, d, d] for each entry; orthogonal.
        wigner: D^0, D^1, ... of the matrices, as `wigner_matrices` returns them; computed where
            irreps need them and they are left out.

    Returns:
        R x, or D(R) x, in the dtype of x.

    Example:
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> rotate(torch.tensor([[2.0, 0.0]]), parse_type("x", "vector"), turn)
        tensor([[0., 2.]])
    """
    if not type_.rotates:
        return x
    if type_.cartesian:
        return _product(matrix, x)
    from e3nn import o3

    irreps = o3.Irreps(type_.kind)
    wigner = wigner_matrices(matrix, type_.degree) if wigner is None else wigner
    sign = torch.linalg.det(matrix.detach()).sign()[..., None, None]
    parts = []
    for part, (mul, ir) in zip(x.split([m * i.dim for m, i in irreps], -1), irreps, strict=True):
        block = wigner[ir.l] * sign.to(wigner[ir.l]) if ir.p == -1 else wigner[ir.l]
        parts.append(_product(block, part.unflatten(-1, (mul, ir.dim))).flatten(-2))
    return torch.cat(parts, -1)


def wigner_matrices(matrix: Tensor, degree: int) -> tuple[Tensor, ...]:
    """D^l [..., 2l + 1, 2l + 1] of R / det R for l = 0, ..., degree, in float64, differentiable."""
    if degree < 0 or matrix.size(-1) == 0:
        return ()
    flat = matrix.double().reshape(-1, *matrix.shape[-2:])
    proper = flat * torch.linalg.det(flat.detach()).sign()[:, None, None]
    blocks = [torch.vmap(partial(wigner, ell))(proper) for ell in range(degree + 1)]
    return tuple(block.view(*matrix.shape[:-2], *block.shape[1:]) for block in blocks)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """M x on the last axis, as a sum of columns: autocast would round a matrix product."""
    if matrix.dim() == 3:
        matrix = matrix.view(matrix.size(0), *[1] * (x.dim() - 2), *matrix.shape[1:])
    columns = matrix.to(x.dtype).unbind(-1)
    terms = (x[..., k, None] * column for k, column in enumerate(columns))
    return sum(terms, torch.zeros_like(x))
