"""Eigenvalues and eigenvectors of many small symmetric matrices, with finite derivatives.

Three by three matrices are decomposed in closed form: the trigonometric solution of the
characteristic cubic gives the eigenvalue that lies farthest from the other two, a cross product
its eigenvector, and one Jacobi rotation in the plane orthogonal to it the others (after Eberly, "A
robust eigensolver for 3 x 3 symmetric matrices", 2014). Every matrix's residual is checked, and
LAPACK decomposes those that fail.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes

_FEW = 512  # below that many matrices LAPACK is faster, one by one
_PART = 16384  # matrices at a time: what fits a core's cache


def symmetric_eigen(matrix: Tensor, *, tolerance: float | None = None) -> tuple[Tensor, Tensor]:
    """Eigenvalues in descending order, and orthonormal eigenvectors in columns.

    Derivatives are those of perturbation theory: with V^T dA V = E,

        d lambda_i = E_ii,     dv_j = sum_i v_i E_ij / (lambda_j - lambda_i),

    where terms whose gap is at most `tolerance` times the spread of the eigenvalues are left out,
    for within a repeated eigenvalue no eigenvector has a derivative. So they are always finite, to
    every order.

    Args:
        matrix: [..., d, d], symmetric; d = 3 is the fast one.
        tolerance: the square root of the rounding unit by default.

    Returns:
        [..., d] and [..., d, d].

    Raises:
        ValueError: matrices that are not square.

    Example:
        >>> values, vectors = symmetric_eigen(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> values
        tensor([3., 1.])
    """
    if matrix.dim() < 2 or matrix.size(-1) != matrix.size(-2):
        raise ValueError(f"matrices must have shape [..., d, d], got {list(matrix.shape)}.")
    if tolerance is None:
        tolerance = math.sqrt(torch.finfo(matrix.dtype).eps)
    flat = matrix.reshape(-1, *matrix.shape[-2:])
    values, vectors = _Eigen.apply(flat, tolerance)  # type: ignore[misc]
    return values.view(matrix.shape[:-1]), vectors.view(matrix.shape)


class _Eigen(torch.autograd.Function):
    @staticmethod
    def forward(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        if matrix.size(-1) != 3 or (len(matrix) < _FEW and not matrix.is_cuda):
            return _lapack(matrix)
        values, vectors, residual = eigen3(matrix)
        bad = ~(residual <= 16 * torch.finfo(matrix.dtype).eps)  # also true for NaN
        if bool(bad.any()):
            values[bad], vectors[bad] = _lapack(matrix[bad])
        return values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)
        ctx.tolerance = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        inverse = _inverse_gaps(values, ctx.tolerance)
        inner = inverse * (vectors.mT @ grads[1]) + torch.diag_embed(grads[0])
        whole = vectors @ inner @ vectors.mT
        return (whole + whole.mT) / 2, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, _: None) -> tuple[Tensor, Tensor]:
        refuse_two_forward_modes()
        values, vectors = ctx.saved_tensors
        inner = vectors.mT @ ((change + change.mT) / 2) @ vectors
        turn = _inverse_gaps(values, ctx.tolerance) * inner
        return inner.diagonal(dim1=1, dim2=2), vectors @ turn

    @staticmethod
    def vmap(info: Any, in_dims: Any, matrix: Tensor, tolerance: float) -> Any:
        """Vectorised matrices are more matrices."""
        matrix = matrix.movedim(in_dims[0], 0)
        values, vectors = _Eigen.apply(matrix.flatten(0, 1), tolerance)  # type: ignore[misc]
        shape = matrix.shape[:2]
        return (values.unflatten(0, shape), vectors.unflatten(0, shape)), (0, 0)


def _inverse_gaps(values: Tensor, tolerance: float) -> Tensor:
    """[B, d, d] 1 / (lambda_j - lambda_i) at [i, j]; 0 for gaps that are too small."""
    gap = values[:, None, :] - values[:, :, None]
    spread = (values[:, :1] - values[:, -1:])[:, None]
    apart = gap.abs() > tolerance * spread
    return torch.where(apart, 1 / torch.where(apart, gap, 1.0), 0.0)


def eigen3(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The closed form alone, of matrices [B, 3, 3].

    Returns:
        Eigenvalues [B, 3], descending, vectors [B, 3, 3] in columns, and [B] the residual
        |M u - lambda u|_max in units of the matrix M without its trace, where the two other
        vectors are orthogonal to u.
    """
    count = len(matrix)
    values, rest = matrix.new_empty(3, count), matrix.new_empty(count)
    vectors = matrix.new_empty(3, 3, count)
    step = _PART if matrix.device.type == "cpu" else max(count, 1)
    for start in range(0, count, step):
        part = slice(start, start + step)
        _eigen3(matrix[part], values[:, part], vectors[:, :, part], rest[part])
    return values.T, vectors.permute(2, 1, 0), rest


def _eigen3(matrix: Tensor, values: Tensor, vectors: Tensor, rest: Tensor) -> None:
    """Fill in values [3, B], vectors [3 of them, 3, B] and residuals [B]."""
    unit = matrix.reshape(-1, 9).T.contiguous().view(3, 3, -1)
    diagonal = unit.view(9, -1)[::4]
    centre = diagonal.mean(0)
    diagonal -= centre
    tiny = math.sqrt(torch.finfo(matrix.dtype).tiny)
    size = ((unit * unit).sum((0, 1)) / 6).sqrt_().clamp_(min=tiny)
    unit /= size
    extreme, u = _extreme_pair(unit, tiny)
    torch.amax((_times(unit, u) - extreme * u).abs_(), 0, out=rest)
    big, small, radius = _planar(unit, extreme, *_complement(u), tiny)
    half, top = extreme / 2, extreme > 0  # else it is the smallest
    columns = (extreme, u), (radius - half, big), (-radius - half, small), (extreme, u)
    for k in range(3):
        torch.where(top, columns[k][0], columns[k + 1][0], out=values[k])
        torch.where(top, columns[k][1], columns[k + 1][1], out=vectors[k])
    values.mul_(size).add_(centre)


def _extreme_pair(unit: Tensor, tiny: float) -> tuple[Tensor, Tensor]:
    """The eigenvalue [B] farthest from the others, and its vector [3, B].

    A traceless matrix M of norm sqrt(6) has the eigenvalues 2 cos t with cos 3t = det M / 2. For
    the extreme one, t is within pi / 6 of 0 or pi, where no digits are lost. Its projector is
    the adjugate of M - lambda, which is adj M + lambda M + lambda^2, over its trace.
    """
    (x, a, b), (_, y, c), (_, _, z) = unit.unbind(0)
    adjugate = torch.stack(
        [y * z - c * c, b * c - a * z, a * c - b * y, x * z - b * b, a * b - x * c, x * y - a * a]
    )
    cosine = (x * adjugate[0] + a * adjugate[1] + b * adjugate[2]) / 2
    value = 2 * (cosine.abs().clamp(max=1).acos() / 3).cos()
    value = torch.copysign(value, cosine)
    adjugate = torch.addcmul(adjugate, torch.stack([x, a, b, y, c, z]), value)
    square = value * value
    first, second, third = (adjugate[k] + square for k in (0, 3, 5))  # its diagonal
    u = torch.stack([first, adjugate[1], adjugate[2]])
    u = torch.where(second > first, torch.stack([adjugate[1], second, adjugate[4]]), u)
    last = torch.stack([adjugate[2], adjugate[4], third])
    u = torch.where(third > torch.maximum(first, second), last, u)  # the longest column
    return value, u * (u * u).sum(0).clamp(min=tiny).rsqrt()


def _complement(u: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors that complete u to a right-handed basis (Duff et al., JCGT 6, 2017)."""
    x, y, z = u
    sign = torch.copysign(torch.ones_like(z), z)
    a = -1 / (sign + z)
    b, xa = x * y * a, sign * x
    return torch.stack([1 + xa * x * a, sign * b, -xa]), torch.stack([b, sign + y * y * a, -y])


def _planar(
    unit: Tensor, extreme: Tensor, v: Tensor, w: Tensor, tiny: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors of the larger and the smaller eigenvalue in a plane, and half their gap.

    The trace in the plane is minus the third eigenvalue. The larger one's vector is along
    (radius + half, across) or, the same without cancellation, (across, radius - half).
    """
    image = _times(unit, v)
    half, across = (v * image).sum(0) + extreme / 2, (w * image).sum(0)
    radius = torch.addcmul(half * half, across, across).sqrt_()
    long = (radius + half.abs()).clamp(min=tiny)
    scale = torch.addcmul(long * long, across, across).rsqrt()
    long, across = long * scale, across * scale
    flat = half >= 0
    cos, sin = torch.where(flat, long, across), torch.where(flat, across, long)
    return torch.addcmul(cos * v, sin, w), torch.addcmul(cos * w, sin, v, value=-1), radius


def _times(unit: Tensor, v: Tensor) -> Tensor:
    """M v."""
    return torch.addcmul(torch.addcmul(unit[0] * v[0], unit[1], v[1]), unit[2], v[2])


def _lapack(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(-1), vectors.flip(-1)
