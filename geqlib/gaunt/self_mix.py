"""Interaction of a node's features with themselves."""

from __future__ import annotations

from typing import Literal

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import KINDS, Paths, reachable, read_irreps
from geqlib.gaunt.methods import Method
from geqlib.gaunt.product import GauntTensorProduct


class SelfMix(nn.Module):
    """x + W (W1 x * W2 x): a residual block for any equivariant features, of the same irreps.

    Symmetry: O(3), exactly. Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216), the
    feature interaction that they add to EquiformerV2 ("Selfmix"). * is a Gaunt product, W1 and W2
    are two maps of the channels of each irrep, without which the product of a function with itself
    would have no brackets, and W a third one. Products keep unit variances; W starts out small, so
    that at first the block changes little.

    Args:
        irreps: e3nn irreps, each once; multiplicities may differ.
        paths: "gaunt", "bracket" or "all": see `GauntTensorProduct`. Irreps that no path gives,
            such as a lone 1o by "gaunt", pass unchanged.
        method: of `GauntTensorProduct`.
        scale: of the initial interaction, in units of x.

    Shapes:
        [..., irreps.dim] to the same; mul_ir.

    Raises:
        ValueError: irreps that are unreadable or repeated, or of which no product reaches any.

    Example:
        >>> mix = SelfMix("8x0e+8x1o+4x2e", paths="all")
        >>> mix(torch.randn(5, 52)).shape
        torch.Size([5, 52])
    """

    def __init__(
        self,
        irreps: str | o3.Irreps,
        *,
        paths: Paths = "gaunt",
        method: Literal["auto"] | Method = "auto",
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.irreps, self.scale = read_irreps("irreps", irreps), scale
        if paths not in KINDS:
            raise ValueError(f"paths {paths!r} is unknown: choose one of {', '.join(KINDS)}.")
        reached = [reachable(self.irreps, self.irreps, ir, paths) for _, ir in self.irreps]
        if not any(reached):
            raise ValueError(
                f"irreps {self.irreps} multiply to none of themselves by paths={paths!r}: add "
                "scalars, or choose other paths."
            )
        out = "+".join(str(part) for part, hit in zip(self.irreps, reached, strict=True) if hit)
        self.product = GauntTensorProduct(
            self.irreps,
            self.irreps,
            out,
            method=method,
            paths=paths,
            weights=1,
            mix=True,
        )
        # plain numbers, because torch.compile cannot look into irreps
        self._blocks = [
            (mul * ir.dim, hit) for (mul, ir), hit in zip(self.irreps, reached, strict=True)
        ]

    def reset_parameters(self) -> None:
        self.product.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """[..., irreps.dim]."""
        product = self.product(x, x) * self.scale
        if all(hit for _, hit in self._blocks):
            return x + product
        additions = iter(product.split([size for size, hit in self._blocks if hit], -1))
        blocks = x.split([size for size, _ in self._blocks], -1)
        pairs = zip(blocks, self._blocks, strict=True)
        return torch.cat([b + next(additions) if hit else b for b, (_, hit) in pairs], -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.product}, scale={self.scale})"
