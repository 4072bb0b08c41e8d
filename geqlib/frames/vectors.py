"""The geometry from which the frame of a sample is built: vectors, and inertia of its tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import isfinite, sqrt

import torch
from torch import Tensor

from geqlib.frames.batches import Batch
from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.symmetry.groups import Group

# Centred positions err by at most sqrt(3) units of their noise, differences by twice that.
NOISY = 4
BLURRED = 1 / 32


@dataclass(frozen=True)
class Rounding:
    """Which differences of the data of a sample are none, in proportion to the sample's size.

    Args:
        eps: [B] rounding unit of each sample's data.
        noise: [B] rounding of the positions: more than `eps` where they are far from the origin.
    """

    eps: Tensor
    noise: Tensor

    def differences(self, units: float = 64) -> Tensor:
        """[B] differences that count as none."""
        return torch.maximum(units * self.eps, NOISY * self.noise)

    @cached_property
    def blurred(self) -> Tensor:
        """[B] whether the sample is little more than the rounding of its positions."""
        return self.noise > BLURRED

    def shortest(self) -> Tensor:
        """[B] the length up to which nothing has a direction; infinite for blurred samples."""
        return self.differences().masked_fill(self.blurred, torch.inf)

    @cached_property
    def gap_tolerance(self) -> Tensor:
        """[B] the gap, relative to the largest eigenvalue, that eigenvectors of frames need."""
        return torch.maximum(self.spectral_tolerance, 2 * NOISY * self.noise)

    @cached_property
    def spectral_tolerance(self) -> Tensor:
        return spectral_tolerance(self.eps)


@dataclass(frozen=True)
class Geometry:
    """Vectors and tensors of a batch of samples, in float64.

    Args:
        vectors: [R, d] vectors, and centred points.
        sample: [R] the sample of each.
        inertia: [Q, d, d] of tensors of higher degree and of axial vectors (`inertia`).
        inertia_sample: [Q] the sample of each.
        rounding: of their data.
    """

    vectors: Tensor
    sample: Tensor
    inertia: Tensor
    inertia_sample: Tensor
    rounding: Rounding

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.rounding.eps)

    def sizes(self) -> Tensor:
        """[B] largest entry of a sample's vectors; 1 where all are 0."""
        return self._sizes

    @cached_property
    def _sizes(self) -> Tensor:
        size = self.rounding.eps.new_zeros(self.count)
        # the infinite norm of torch is slow on a CPU
        size = size.scatter_reduce(0, self.sample, self.vectors.detach().abs().amax(1), "amax")
        if len(self.inertia):
            size = size.scatter_reduce(0, self.inertia_sample, self.norms(), "amax")
        return size.masked_fill(size == 0, 1.0)

    def check_finite(self) -> None:
        """Raise a ValueError that names a sample with NaN or infinity, if there is one."""
        if isfinite(float(self.vectors.detach().sum() + self.inertia.detach().sum())):
            return
        for x, sample in ((self.vectors, self.sample), (self.inertia, self.inertia_sample)):
            finite = x.detach().isfinite().flatten(1).all(1)
            if not bool(finite.all()):
                raise ValueError(
                    f"sample {int(sample[~finite].min())} has NaN or infinite points or vectors: "
                    "fix or drop it."
                )

    def norms(self) -> Tensor:
        """[Q] of the tensors; |x| for a vector x."""
        return (self.inertia.detach().diagonal(dim1=1, dim2=2).sum(1) / 2).sqrt()

    def tensor_axes(self) -> tuple[Tensor, Tensor]:
        """Principal axes of each tensor, with its norm as their length, and their samples.

        Constants of arbitrary sign. Eigenvectors of repeated eigenvalues are left out.
        """
        inertia = self.inertia.detach()
        if not len(inertia):
            return self.vectors[:0].detach(), self.sample[:0]
        values, axes = symmetric_eigen(inertia)
        gap = (values[:, :, None] - values[:, None]).abs()
        gap.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        tolerance = self.rounding.spectral_tolerance[self.inertia_sample, None]
        tensor, axis = (gap.amin(2) > tolerance * values[:, :1]).nonzero(as_tuple=True)
        return axes[tensor, :, axis] * self.norms()[tensor, None], self.inertia_sample[tensor]


def spectral_tolerance(eps: Tensor) -> Tensor:
    """The gap, relative to the largest eigenvalue, above which eigenvectors make the frame.

    Directions err by about eps / gap, so this keeps errors below eps^(3/4).
    """
    return eps**0.25


def geometry_of(batch: Batch, group: Group) -> tuple[Geometry, Tensor | None]:
    """All points, vectors and tensors of a batch together, and the centre of each sample.

    Args:
        batch: the typed inputs.
        group: without reflections, axial vectors are vectors; with translations, points are
            relative to the centre.

    Returns:
        The geometry, and the centres [B, d] in float64; None without translations.

    Raises:
        ValueError: no input from which a frame could be built.
    """
    shift = _centres(batch, group.dim) if group.translates else None
    vectors, inertias, rounding = [], [], torch.finfo(torch.float64).eps
    for x, type_ in batch.tensors.values():
        if not type_.rotates:
            continue
        sample = batch.samples[type_.level]
        rounding = max(rounding, torch.finfo(x.dtype).eps)
        if type_.cartesian:
            flat, sample = _flat(x.double(), sample)
            if type_.kind == "point" and shift is not None:
                flat = flat - shift[sample]
            vectors.append((flat, sample))
            continue
        for degree, parity, part in _irreps(x.double(), type_.kind):
            flat, owner = _flat(part, sample)
            if degree == 1 and (group.proper or parity == -1):
                vectors.append((flat, owner))
            elif degree > 0:
                inertias.append((inertia(flat, degree), owner))
    if not vectors and not inertias:
        raise ValueError("inputs name no point, vector or irreps: there is nothing to frame.")
    number, d = batch.samples["graph"], group.dim
    parts = *_joined(vectors, (d,), number), *_joined(inertias, (d, d), number)
    eps = parts[0].new_full((batch.count,), rounding)
    geometry = Geometry(*parts, Rounding(eps, torch.zeros_like(eps)))
    if shift is None:
        return geometry, None
    # far from the origin, positions are rounded more coarsely than the set is small
    noise = eps * shift.detach().norm(dim=1) / geometry.sizes()
    return replace(geometry, rounding=Rounding(eps, noise)), shift


def _centres(batch: Batch, dim: int) -> Tensor:
    """[B, dim] mean of all points of each sample, in float64; 0 where there are none."""
    points = [pair for pair in batch.tensors.values() if pair[1].kind == "point"]
    if not points:
        raise ValueError("a group with translations needs an input of type 'point': name one.")
    total = points[0][0].new_zeros(batch.count, dim, dtype=torch.float64)
    number = total.new_zeros(batch.count)
    for x, type_ in points:
        flat, sample = _flat(x, batch.samples[type_.level])
        total = total.index_add(0, sample, flat.double())
        number = number + torch.bincount(sample, minlength=batch.count)
    return total / number.clamp(min=1)[:, None]


def _irreps(x: Tensor, irreps: str) -> list[tuple[int, int, Tensor]]:
    """Degree, parity and tensors [n, ..., mul, 2l + 1] of each part."""
    from e3nn import o3

    parts = o3.Irreps(irreps)
    split = x.split([mul * ir.dim for mul, ir in parts], -1)
    return [
        (ir.l, ir.p, part.unflatten(-1, (mul, ir.dim)))
        for part, (mul, ir) in zip(split, parts, strict=True)
    ]


def _flat(x: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """[n, ..., d] as [n k, d], with the sample of each."""
    each = x.reshape(len(x), -1, x.size(-1)) if len(x) else x.reshape(0, 1, x.size(-1))
    return each.flatten(0, 1), sample.repeat_interleave(each.size(1))


def _joined(parts: list, shape: tuple[int, ...], number: Tensor) -> tuple[Tensor, Tensor]:
    none = torch.zeros(0, *shape, dtype=torch.float64, device=number.device)
    values, samples = zip(*parts, strict=True) if parts else ((), ())
    return torch.cat([none, *values]), torch.cat([number[:0], *samples])


def inertia(x: Tensor, degree: int) -> Tensor:
    """M with n.M n = |dx/dt|^2, the squared rate of change of tensors rotated about n.

    It rotates with the tensors, whatever their degree: a frame can be read from it. For a vector it
    is the inertia tensor |x|^2 - x x^T, and its kernel are the axes of continuous symmetry.

    Args:
        x: [..., 2 degree + 1] in e3nn's basis.
        degree: l, at least 1.

    Returns:
        [..., 3, 3], in the dtype of x.

    Example:
        >>> inertia(torch.tensor([0.0, 2.0, 0.0]), 1)
        tensor([[4., 0., 0.],
                [0., 0., 0.],
                [0., 0., 4.]])
    """
    rate = torch.einsum("ijk,...k->...ij", _generators(degree).to(x), x)
    return rate @ rate.mT


@cache
def _generators(degree: int) -> Tensor:
    """[3, 2l + 1, 2l + 1]: e3nn's coupling of 1 x l to l is proportional to them."""
    from e3nn import o3

    coupling = o3.wigner_3j(1, degree, degree, dtype=torch.float64)
    # sum_i tr(L_i L_i^T) = l (l + 1) (2l + 1), and the coupling has norm 1
    return coupling * sqrt(degree * (degree + 1) * (2 * degree + 1))
