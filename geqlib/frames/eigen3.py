"""Eigenvalues and eigenvectors of many small symmetric matrices, with finite derivatives.

Three by three matrices are decomposed in closed form: the trigonometric solution of the
characteristic cubic gives the eigenvalue that lies farthest from the other two, a cross product
its eigenvector, and one Jacobi rotation in the plane orthogonal to it the others (after Eberly, "A
robust eigensolver for 3 x 3 symmetric matrices", 2014). Every matrix's residual is checked, and
LAPACK decomposes those that fail. On a GPU one kernel turns them by Jacobi's rotations.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes
from geqlib.kernels.selection import fused

_FEW = 512  # below that many matrices LAPACK is faster, one by one
_PART = 16384  # matrices at a time: what fits a core's cache


def symmetric_eigen(matrix: Tensor, *, tolerance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eigenvalues in descending order, and orthonormal eigenvectors in columns.

    Derivatives are those of perturbation theory: with V^T dA V = E,

        d lambda_i = E_ii,     dv_j = sum_i v_i E_ij / (lambda_j - lambda_i),

    where terms whose gap is at most `tolerance` times the spread of the eigenvalues are left out,
    for within a repeated eigenvalue no eigenvector has a derivative. So they are always finite, to
    every order.

    Args:
        matrix: [..., d, d], symmetric; d = 3 is the fast one.
        tolerance: [...] of each matrix; the square root of the rounding unit by default.

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
        tolerance = matrix.new_full((), math.sqrt(torch.finfo(matrix.dtype).eps))
    flat = matrix.reshape(-1, *matrix.shape[-2:])
    values, vectors = _Eigen.apply(flat, tolerance.flatten())  # type: ignore[misc]
    return values.view(matrix.shape[:-1]), vectors.view(matrix.shape)


class _Eigen(torch.autograd.Function):
    @staticmethod
    def forward(matrix: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        supported = matrix.size(-1) == 3 and matrix.dtype in (torch.float32, torch.float64)
        if fused("eigen3", matrix, supported=supported):
            from geqlib.kernels import eigen3_triton

            return eigen3_triton.eigen3(matrix)
        if matrix.size(-1) != 3 or (len(matrix) < _FEW and not matrix.is_cuda):
            return _lapack(matrix)
        values, vectors, residual = eigen3(matrix)
        limit = 8 * torch.finfo(matrix.dtype).eps
        # the largest is NaN if one of them is
        if len(matrix) and not float(residual.amax()) <= limit:
            bad = ~(residual <= limit)
            values[bad], vectors[bad] = _lapack(matrix[bad])
        return values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*output, inputs[1])
        ctx.save_for_forward(*output, inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, vectors, tolerance = ctx.saved_tensors
        inverse = _inverse_gaps(values, tolerance)
        inner = inverse * (vectors.mT @ grads[1]) + torch.diag_embed(grads[0])
        whole = vectors @ inner @ vectors.mT
        return (whole + whole.mT) / 2, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, _: Any) -> tuple[Tensor, Tensor]:
        refuse_two_forward_modes()
        values, vectors, tolerance = ctx.saved_tensors
        inner = vectors.mT @ ((change + change.mT) / 2) @ vectors
        turn = _inverse_gaps(values, tolerance) * inner
        return inner.diagonal(dim1=1, dim2=2), vectors @ turn

    @staticmethod
    def vmap(info: Any, in_dims: Any, matrix: Tensor, tolerance: Tensor) -> Any:
        """Vectorised matrices are more matrices."""
        matrix = matrix.movedim(in_dims[0], 0)
        if in_dims[1] is not None:
            tolerance = tolerance.movedim(in_dims[1], 0)
        shape = matrix.shape[:2]
        each = tolerance.expand(shape).flatten()
        values, vectors = _Eigen.apply(matrix.flatten(0, 1), each)  # type: ignore[misc]
        return (values.unflatten(0, shape), vectors.unflatten(0, shape)), (0, 0)


def _inverse_gaps(values: Tensor, tolerance: Tensor) -> Tensor:
    """[B, d, d] 1 / (lambda_j - lambda_i) at [i, j]; 0 for gaps that are too small."""
    gap = values[:, None, :] - values[:, :, None]
    spread = (values[:, :1] - values[:, -1:])[:, None]
    apart = gap.abs() > tolerance[:, None, None] * spread
    return torch.where(apart, 1 / torch.where(apart, gap, 1.0), 0.0)


def eigen3(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The closed form alone, of matrices [B, 3, 3].

    Returns:
        Eigenvalues [B, 3], descending, vectors [B, 3, 3] in columns, and [B] the residual
        |M u - lambda u|_max in units of the matrix M without its trace, where the two other
        vectors are orthogonal to u.
    """
    count = len(matrix)
    pairs, rest = matrix.new_empty(3, 4, count), matrix.new_empty(count)
    step = _PART if matrix.device.type == "cpu" else max(count, 1)
    for start in range(0, count, step):
        part = slice(start, start + step)
        _eigen3(matrix[part], pairs[:, :, part], rest[part])
    return pairs[:, 0].T, pairs[:, 1:].permute(2, 1, 0), rest


def _eigen3(matrix: Tensor, pairs: Tensor, rest: Tensor) -> None:
    """Fill in pairs [3, 4, B] of a value above its vector, and residuals [B].

    In few operations, as each is a kernel on a GPU, and without norms and `argmax` of torch along
    the first axis, which are slow on a CPU.
    """
    unit = matrix.permute(1, 2, 0).contiguous()
    diagonal = unit.view(9, -1)[::4]
    centre = diagonal.mean(0)
    diagonal -= centre
    tiny = math.sqrt(torch.finfo(matrix.dtype).tiny)
    size = (unit * unit).sum((0, 1)).sqrt_().clamp_(min=tiny)
    unit /= size
    extreme, u = _extreme_pair(unit)
    basis = _reflection(u)
    image = (unit[:, :, None] * basis[:, ::2]).sum(1)
    error = torch.addcmul(image[:, 1], extreme, basis[:, 2], value=-1)
    torch.amax(error.abs_(), 0, out=rest)
    # in the plane the trace is minus the third eigenvalue
    half, across = (basis[:, :2] * image[:, :1]).sum(0)
    half.add_(extreme, alpha=0.5)
    radius, angle = torch.hypot(half, across), torch.atan2(across, half).mul_(0.5)
    large = torch.addcmul(angle.cos() * basis[:, 0], angle.sin(), basis[:, 1])
    small = torch.linalg.cross(u, large, dim=0)
    first = radius.sub(extreme, alpha=0.5)
    third = first.add(extreme).neg_()
    top, rows = (extreme[None], u), (first[None], large, third[None], small)
    columns = torch.cat([*top, *rows, *top]).view(4, 4, -1)
    torch.where(extreme > 0, columns[:3], columns[1:], out=pairs)  # else it is the smallest
    torch.addcmul(centre, pairs[:, 0], size, out=pairs[:, 0])


def _extreme_pair(unit: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalue [B] farthest from the others, and its vector [3, B].

    A traceless matrix M of norm 1 has the eigenvalues sqrt(2/3) cos t with
    cos 3t = sqrt(54) det M. For the extreme one, t is within pi / 6 of 0 or pi, where no digits are
    lost. Its projector is the adjugate of M - lambda, which is adj M + lambda M + lambda^2, over
    its trace; the longest column is the one with the largest entry on the diagonal.
    """
    cyclic = torch.cat([unit, unit[:, :2]], 1)
    cyclic = torch.cat([cyclic, cyclic[:2]])
    adjugate = cyclic[1:4, 1:4] * cyclic[2:, 2:]
    adjugate.addcmul_(cyclic[1:4, 2:], cyclic[2:, 1:4], value=-1)
    cosine = (unit[0] * adjugate[0]).sum(0) * math.sqrt(54)
    value = (cosine.abs().clamp_(max=1).acos_() / 3).cos_() * math.sqrt(2 / 3)
    value = torch.copysign(value, cosine)
    adjugate = torch.addcmul(adjugate, unit, value)
    diagonal = adjugate.view(9, -1)[::4]
    diagonal.addcmul_(value, value)
    longest = diagonal.max(0).indices.expand(1, 3, -1)
    u = adjugate.gather(0, longest)[0]
    return value, u * (u * u).sum(0).rsqrt_()


def _reflection(u: Tensor) -> Tensor:
    """[3, 3, B] h h^T / (1 + |u_z|) - 1 with h = u + sign(u_z) e_z: its columns are orthonormal.

    The third one is u or -u.
    """
    length = u[2].abs() + 1
    h = torch.cat([u[:2], torch.copysign(length, u[2])[None]])
    basis = h[:, None] * (h / length)
    basis.view(9, -1)[::4].sub_(1)
    return basis


def _lapack(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(-1), vectors.flip(-1)
