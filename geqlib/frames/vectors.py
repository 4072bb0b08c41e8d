"""What the frame of a sample is built from: vectors, and how its tensors turn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.frames.eigen3 import symmetric_eigen


@dataclass(frozen=True)
class Vectors:
    """The geometry of a batch of samples, in float64.

    Args:
        rows: [R, d] vectors, and centred points.
        sample: [R] the sample of each.
        twists: [Q, d, d] of tensors of higher degree and of axial vectors (`geometry.twists`).
        twist_sample: [Q] the sample of each.
        eps: [B] rounding of each sample's data in proportion to its extent.
    """

    rows: Tensor
    sample: Tensor
    twists: Tensor
    twist_sample: Tensor
    eps: Tensor

    @property
    def count(self) -> int:
        return len(self.eps)

    def sizes(self) -> Tensor:
        """[B] largest entry of a sample's vectors; 1 where all are 0."""
        size = self.eps.new_zeros(self.count)
        size = size.scatter_reduce(0, self.sample, self.rows.detach().abs().amax(1), "amax")
        if len(self.twists):
            size = size.scatter_reduce(0, self.twist_sample, self.lengths(), "amax")
        return torch.where(size > 0, size, 1.0)

    def check_finite(self) -> None:
        """Raise a ValueError that names a sample with NaN or infinity, if there is one."""
        for x, sample in ((self.rows, self.sample), (self.twists, self.twist_sample)):
            finite = x.detach().isfinite().flatten(1).all(1)
            if not bool(finite.all()):
                raise ValueError(
                    f"sample {int(sample[~finite].min())} has NaN or infinite points or vectors: "
                    "mend or drop it."
                )

    def lengths(self) -> Tensor:
        """[Q] of the tensors; |x| for a vector x."""
        return (self.twists.detach().diagonal(dim1=1, dim2=2).sum(1) / 2).sqrt()

    def tensor_axes(self) -> tuple[Tensor, Tensor]:
        """Eigenvectors of single twists, as long as the tensor, and their samples; constants.

        Their signs are arbitrary. Where an eigenvalue is repeated its eigenvectors are left out.
        """
        twists = self.twists.detach()
        if not len(twists):
            return self.rows[:0].detach(), self.sample[:0]
        values, axes = symmetric_eigen(twists)
        gap = (values[:, :, None] - values[:, None]).abs()
        gap.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        clear = gap.amin(2) > spectral_tolerance(self.eps)[self.twist_sample, None] * values[:, :1]
        which, column = clear.nonzero(as_tuple=True)
        return axes[which, :, column] * self.lengths()[which, None], self.twist_sample[which]


def vectors_of(rows: Tensor, sample: Tensor, count: int) -> Vectors:
    """Rows [R, d] of one kind, with the sample [R] of each."""
    wide = rows.double()
    none = wide.new_zeros(0, rows.size(-1), rows.size(-1))
    eps = wide.new_full((count,), torch.finfo(rows.dtype).eps)
    return Vectors(wide, sample, none, sample[:0], eps)


def spectral_tolerance(eps: Tensor) -> Tensor:
    """The gap, relative to the largest eigenvalue, above which eigenvectors make the frame.

    Directions err by about eps / gap, so this keeps errors below eps^(3/4).
    """
    return eps**0.25
