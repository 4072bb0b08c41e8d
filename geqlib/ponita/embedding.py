"""The embedding of a pair's invariant attributes, from which a kernel basis is computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.ponita.invariants import (
    FIBER,
    SPATIAL,
    Space,
    pair_attributes,
    pair_count,
    spatial_attributes,
)
from geqlib.radial import LogGaussianBasis, PolynomialFeatures


class AttributeEmbedding(nn.Module):
    """Monomials of a pair's invariant attributes, or radial functions times monomials.

    The published embedding is a polynomial in attributes that have the unit of length. With
    `radial` it is products of functions of |r| with polynomials in the directions o.r / |r|.

    Args:
        space: "R2", "R3", "R2xS1", "R3xS2" or "SE3".
        degree: of the polynomials.
        radial: functions of distance, or None for the published embedding.
        pairs: whether both orientations of a pair are seen, or the target's alone.
        smooth, fourth, chiral: see `geqlib.ponita.invariants`.

    Example:
        >>> embed = AttributeEmbedding("R3xS2", 3)
        >>> embed(torch.randn(4, 3), torch.eye(3)).shape
        torch.Size([4, 3, 9])
    """

    def __init__(
        self,
        space: Space,
        degree: int,
        *,
        radial: LogGaussianBasis | None = None,
        pairs: bool = False,
        smooth: bool = False,
        fourth: bool = False,
        chiral: bool = False,
    ) -> None:
        super().__init__()
        self.space: Space = space
        self.oriented, self.pairs, self.radial = FIBER[space] > 0, pairs, radial
        self.smooth, self.fourth, self.chiral = smooth, fourth, chiral
        count = pair_count(space, fourth=fourth, chiral=chiral) if pairs else SPATIAL[space]
        # |r_perp| / |r| is a function of o.r / |r|
        self._redundant = 1 if radial is not None and space == "R3xS2" else None
        self.monomials = PolynomialFeatures(count - (self._redundant is not None), degree)
        self.out_features = self.monomials.out_features
        if radial is not None:
            self.out_features = radial.count * (self.out_features + 1 if self.oriented else 1)

    def forward(self, offset: Tensor, here: Tensor | None, there: Tensor | None = None) -> Tensor:
        """Features of offsets [R, d] from targets at orientations `here` to sources at `there`.

        Returns:
            [R, O, F] for `here` a grid [O, ...] or, with O = 1, one orientation per offset;
            [R, O, O, F] if `there` is a grid too.
        """
        if self.radial is None:
            return self.monomials(self._attributes(offset, here, there))
        distance = ((offset * offset).sum(-1) + self.radial.softening**2).sqrt()
        radial = self.radial(distance)
        if not self.oriented:
            return radial[:, None]
        angle = self._attributes(offset / distance[:, None], here, there)
        if self._redundant is not None:
            used = [k for k in range(angle.size(-1)) if k != self._redundant]
            angle = angle[..., used]
        monomials = self.monomials(angle)
        monomials = torch.cat([torch.ones_like(monomials[..., :1]), monomials], -1)
        radial = radial.view(-1, *[1] * (monomials.dim() - 1), self.radial.count)
        return (monomials[..., None] * radial).flatten(-2)

    def _attributes(self, offset: Tensor, here: Tensor | None, there: Tensor | None) -> Tensor:
        if here is None or not self.pairs:
            return spatial_attributes(self.space, offset[:, None], here, smooth=self.smooth)
        options = {"smooth": self.smooth, "fourth": self.fourth, "chiral": self.chiral}
        if there is None:  # every source orientation of the grid for every target orientation
            return pair_attributes(
                self.space, offset[:, None, None], here[:, None], here[None], **options
            )
        return pair_attributes(self.space, offset, here, there, **options)[:, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.space}, features={self.out_features})"
