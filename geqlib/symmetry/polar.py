"""Coordinates of GL+(n) and SL(n) by polar decomposition.

Source: Mironenco and Forré, "Lie group decompositions for equivariant neural networks" (ICLR 2024,
arXiv 2310.11366). Every matrix of positive determinant is a stretch times a rotation,

    g = P R,     P = (g g^T)^(1/2),     R = P^-1 g in SO(n),

and its coordinates are those of log P, which is symmetric, and of log R, which is antisymmetric:
global on GL+(n), but for rotations by pi, whose logarithm is not unique. SL(n) has tr log P = 0.

Everything here is made of one iteration for the polar factor and of power series, and not of
eigenvectors. It is differentiable to any order also where eigenvalues are equal, as at rotations.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

NEAR = 0.25  # of the identity, in the largest row sum: where the series below is exact to rounding
NODES = 8  # of Gauss-Legendre quadrature: the diagonal Padé approximant of the logarithm
MOST_STEPS = 100
DTYPES = (torch.float32, torch.float64)


def polar(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Stretch and rotation of invertible matrices, g = P R.

    Newton's iteration of Higham (SIAM J. Sci. Stat. Comput. 7, 1986), X <- (c X + (c X)^-T) / 2,
    which converges to R quadratically, and so do its derivatives.

    Args:
        matrix: [..., n, n].

    Returns:
        P [..., n, n], symmetric and positive definite, and R [..., n, n], orthogonal, with the sign
        of the determinant of g.

    Raises:
        ValueError: singular matrices, NaN.

    Example:
        >>> stretch, rotation = polar(torch.tensor([[0.0, -2.0], [3.0, 0.0]]))
        >>> stretch.diagonal(), rotation.round()
        (tensor([2., 3.]), tensor([[ 0., -1.],
                [ 1.,  0.]]))
    """
    check_invertible(matrix)
    rotation = _orthogonal_factor(matrix)
    stretch = _product(matrix, rotation.mT)
    return (stretch + stretch.mT) / 2, rotation


def log(matrix: Tensor) -> Tensor:
    """X = log P + log R of g = P R: the coordinates of g as one matrix, for which exp(X) = g.

    Args:
        matrix: [..., n, n] of positive determinant.

    Returns:
        [..., n, n], whose symmetric part is log P and whose antisymmetric part is log R.

    Raises:
        ValueError: determinants that are not positive, singular matrices, and rotations by pi.

    Example:
        >>> g = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
        >>> torch.allclose(exp(log(g)), g)
        True
    """
    check_proper(matrix)
    stretch, rotation = polar(matrix)
    stretched = _repeated_roots(stretch, _stretch_root)
    rotated = _repeated_roots(rotation, _rotation_root)
    return (stretched + stretched.mT) / 2 + (rotated - rotated.mT) / 2


def exp(matrix: Tensor) -> Tensor:
    """g = exp((X + X^T) / 2) exp((X - X^T) / 2), the inverse of :func:`log`.

    It is the matrix exponential of X where both parts commute.

    Args:
        matrix: [..., n, n] any matrix; of trace 0 for SL(n).

    Returns:
        [..., n, n] of positive determinant exp(tr X).

    Raises:
        ValueError: tensors of another shape or dtype.

    Example:
        >>> exp(torch.zeros(2, 2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    _check_square(matrix)
    symmetric, antisymmetric = (matrix + matrix.mT) / 2, (matrix - matrix.mT) / 2
    return _product(matrix_exp(symmetric), matrix_exp(antisymmetric))


def coordinates(matrix: Tensor, *, traceless: bool = False) -> Tensor:
    """Coordinates of g in a basis that is orthonormal for tr(X^T Y).

    Those of an affine map x -> g x + t are these and t.

    Args:
        matrix: [..., n, n] of positive determinant; of determinant 1 if `traceless`.
        traceless: for SL(n), which has one coordinate less.

    Returns:
        [..., n^2], or [..., n^2 - 1]: first those of log P, then the n (n - 1) / 2 of log R.

    Raises:
        ValueError: see :func:`log`; determinants other than 1 if `traceless`.

    Example:
        >>> coordinates(torch.tensor([[2.0, 0.0], [0.0, 0.5]]), traceless=True)[0].square()
        tensor(0.9609)
    """
    if traceless:
        check_special(matrix)
    basis = polar_basis(matrix.size(-1), traceless=traceless).to(matrix)
    with torch.autocast(matrix.device.type, enabled=False):
        return torch.einsum("kij,...ij->...k", basis, log(matrix))


def from_coordinates(values: Tensor, dim: int, *, traceless: bool = False) -> Tensor:
    """Matrices [..., n, n] from their coordinates, the inverse of :func:`coordinates`.

    Args:
        values: [..., n^2], or [..., n^2 - 1] if `traceless`.
        dim: n.
        traceless: for SL(n).

    Raises:
        ValueError: another number of coordinates.

    Example:
        >>> from_coordinates(torch.zeros(8), 3, traceless=True).diagonal()
        tensor([1., 1., 1.])
    """
    basis = polar_basis(dim, traceless=traceless).to(values)
    if values.shape[-1:] != (len(basis),):
        name = f"{'SL' if traceless else 'GL+'}({dim})"
        raise ValueError(
            f"{name} has {len(basis)} coordinates, but the last axis of {list(values.shape)} "
            "has another length."
        )
    with torch.autocast(values.device.type, enabled=False):
        return exp(torch.einsum("...k,kij->...ij", values, basis))


def polar_basis(dim: int, *, traceless: bool = False) -> Tensor:
    """[k, n, n] matrices, orthonormal for tr(X^T Y): symmetric ones, then antisymmetric ones.

    Diagonal ones first, of trace 0 but for the last of them, which `traceless` leaves out.

    Example:
        >>> len(polar_basis(3)), len(polar_basis(3, traceless=True))
        (9, 8)
    """
    rows = []
    for k in range(1, dim):  # diag(1, ..., 1, -k, 0, ...)
        diagonal = torch.zeros(dim, dtype=torch.float64)
        diagonal[:k], diagonal[k] = 1, -k
        rows.append(torch.diag(diagonal / sqrt(k * (k + 1))))
    identity = torch.eye(dim, dtype=torch.float64)
    rows += [] if traceless else [identity / sqrt(dim)]
    pairs = [(i, j) for i in range(dim) for j in range(i)]
    units = [torch.outer(identity[i], identity[j]) / sqrt(2) for i, j in pairs]
    rows += [unit + unit.mT for unit in units] + [unit - unit.mT for unit in units]
    return torch.stack(rows) if rows else identity.new_zeros(0, dim, dim)


def matrix_exp(matrix: Tensor) -> Tensor:
    """The matrix exponential; of 16-bit matrices by way of float32, as torch's own is wrong there.

    Example:
        >>> matrix_exp(torch.eye(1, dtype=torch.bfloat16))
        tensor([[2.7188]], dtype=torch.bfloat16)
    """
    if torch.finfo(matrix.dtype).bits >= 32:
        return torch.linalg.matrix_exp(matrix)
    return torch.linalg.matrix_exp(matrix.float()).to(matrix.dtype)


def check_invertible(matrix: Tensor) -> None:
    """Raise a ValueError that names a matrix [..., n, n] without an inverse, or with NaN."""
    _check_square(matrix)
    shape = list(matrix.shape)
    if matrix.dtype not in DTYPES:
        raise ValueError(
            f"matrices must be floating point, float32 or float64, of shape [..., n, n], got "
            f"{matrix.dtype} of {shape}."
        )
    if not matrix.numel():
        return
    flat = matrix.detach().reshape(-1, *shape[-2:])
    finite = flat.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise ValueError(f"matrix {int((~finite).nonzero()[0])} is NaN or infinite.")
    values = torch.linalg.svdvals(flat.double())
    limit = shape[-1] * torch.finfo(matrix.dtype).eps * values[:, 0]
    bad = (values[:, -1] <= limit).nonzero()
    if len(bad):
        raise ValueError(
            f"matrix {int(bad[0])} is singular: its singular values go from "
            f"{float(values[bad[0], 0]):.3g} to {float(values[bad[0], -1]):.3g}, so that it has no "
            "inverse."
        )


def _check_square(matrix: Tensor) -> None:
    shape = list(matrix.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or not matrix.is_floating_point():
        raise ValueError(
            f"matrices must be floating point of shape [..., n, n], got {matrix.dtype} of {shape}."
        )


def check_proper(matrix: Tensor) -> None:
    """Raise a ValueError that names a matrix that is not in GL+(n)."""
    check_invertible(matrix)
    bad = (torch.linalg.slogdet(matrix.detach().double()).sign.reshape(-1) < 0).nonzero()
    if len(bad):
        raise ValueError(
            f"matrix {int(bad[0])} has a negative determinant: it is not in GL+(n), which the "
            "logarithm is of."
        )


def check_special(matrix: Tensor) -> None:
    """Raise a ValueError that names a matrix whose determinant is not 1."""
    det = torch.linalg.det(matrix.detach().double()).reshape(-1)
    values = torch.linalg.svdvals(matrix.detach().double())
    stretched = (values.amax(-1) / values.amin(-1)).reshape(-1) if values.numel() else 1.0
    eps = torch.finfo(matrix.dtype).eps
    limit = matrix.size(-1) ** 2 * (eps**0.75 + eps * stretched)  # rounded entries change it so
    bad = (~((det - 1).abs() <= limit)).nonzero()
    if len(bad):
        raise ValueError(
            f"matrix {int(bad[0])} has determinant {float(det[bad[0]]):.6g}: those of SL(n) have 1."
        )


def _orthogonal_factor(matrix: Tensor) -> Tensor:
    x, n = matrix, matrix.size(-1)
    if x.numel() == 0:
        return x
    accurate = torch.finfo(x.dtype).eps ** 0.5
    last = False  # once the error is at rounding, one more step has that of derivatives there
    for _ in range(MOST_STEPS):
        # which makes the determinant 1, and leaves the limit as it is
        scale = torch.exp(torch.linalg.slogdet(x.detach()).logabsdet / -n)
        x = x * scale.clamp(max=torch.finfo(x.dtype).max)[..., None, None]
        following = (x + torch.linalg.inv(x).mT) / 2
        change = float((following - x).detach().abs().amax())
        x = following
        if last:
            break
        last = change <= accurate
    return x


def _product(one: Tensor, other: Tensor) -> Tensor:
    """A matrix product, which autocast would round to 16 bits."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other


def _stretch_root(stretch: Tensor) -> Tensor:
    """P^(1/2) = the stretch of L, where P = L L^T."""
    factor = torch.linalg.cholesky(stretch)
    root = _product(factor, _orthogonal_factor(factor).mT)
    return (root + root.mT) / 2


def _rotation_root(rotation: Tensor) -> Tensor:
    """R^(1/2) = the rotation of 1 + R: both have the same axes, with half the angle."""
    shifted = rotation + torch.eye(rotation.size(-1)).to(rotation)
    half_turn = torch.linalg.svdvals(shifted.detach())[..., -1].reshape(-1)
    bad = (half_turn <= torch.finfo(rotation.dtype).eps ** 0.5).nonzero()
    if len(bad):
        raise ValueError(
            f"the rotation of matrix {int(bad[0])} is by pi, where the logarithm is not unique."
        )
    return _orthogonal_factor(shifted)


def _repeated_roots(matrix: Tensor, root: Callable[[Tensor], Tensor]) -> Tensor:
    """log A = 2^k log A^(1/2^k)."""
    identity = torch.eye(matrix.size(-1)).to(matrix)
    count = 0
    while matrix.numel() and float((matrix - identity).detach().abs().sum(-1).amax()) > NEAR:
        matrix = root(matrix)
        count += 1
    return 2**count * _log_near_identity(matrix - identity)


def _log_near_identity(x: Tensor) -> Tensor:
    """log(1 + x) = integral over t in [0, 1] of x (1 + t x)^-1."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    identity = torch.eye(x.size(-1)).to(x)
    parts = [
        float(w) / 2 * torch.linalg.solve(identity + (1 + float(p)) / 2 * x, x)
        for p, w in zip(points, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)
