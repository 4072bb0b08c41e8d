"""Random rotations."""

from __future__ import annotations

import torch
from torch import Tensor


def random_rotations(
    count: int,
    dim: int,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """[count, dim, dim] uniformly distributed rotations, from torch's own random stream or another.

    In space by uniform unit quaternions, in the plane by uniform angles: without a matrix
    decomposition, so that it is cheap on every device.

    Example:
        >>> r = random_rotations(4, 3, dtype=torch.float64)
        >>> torch.allclose(r @ r.mT, torch.eye(3, dtype=torch.float64))
        True
    """
    if dim == 2:
        angle = 2 * torch.pi * torch.rand(count, dtype=dtype, device=device, generator=generator)
        c, s = angle.cos(), angle.sin()
        return torch.stack([c, -s, s, c], -1).view(count, 2, 2)
    if dim != 3:
        raise ValueError(f"dim must be 2 or 3, got {dim}.")
    normal = torch.randn(count, 4, dtype=dtype, device=device, generator=generator)
    q = torch.nn.functional.normalize(normal, dim=1)
    w, x, y, z = q.unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], 1)


def random_rotation(
    d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, improper: bool = False
) -> Tensor:
    """Haar-random rotation [d, d], made in float64 and cast; `improper` gives determinant -1.

    Example:
        >>> r = random_rotation(3, torch.Generator().manual_seed(0), improper=True)
        >>> bool(torch.linalg.det(r) < 0)
        True
    """
    q, r = torch.linalg.qr(random_translation(d * d, generator).view(d, d))
    q = q * r.diagonal().sign()  # without the signs QR is not Haar distributed
    flip = torch.linalg.det(q).sign() * (-1 if improper else 1)
    return torch.cat([q[:, :1] * flip, q[:, 1:]], dim=1).to(dtype)


def random_translation(
    d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Standard normal vector [d], made in float64 and cast.

    Example:
        >>> random_translation(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3])
    """
    shift = torch.randn(d, generator=generator, dtype=torch.float64, device=generator.device)
    return shift.to(dtype)
