"""The Gaunt tensor product: features multiplied as functions on the sphere."""

from __future__ import annotations

from contextlib import nullcontext
from math import sqrt
from typing import Any, Literal, get_args

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.geometry.gaunt import path_variances
from geqlib.nn.gaunt_fourier import FourierCoefficients, FourierValues
from geqlib.nn.gaunt_grid import (
    GridCoefficients,
    GridValues,
    SeparableCoefficients,
    SeparableValues,
)
from geqlib.nn.gaunt_pointwise import PointwiseProduct
from geqlib.nn.gaunt_signals import (
    KINDS,
    Paths,
    connected,
    gather,
    read_irreps,
    scatter,
    signals,
    terms,
)
from geqlib.nn.gaunt_sparse import SparseProduct
from geqlib.nn.gaunt_weights import DegreeLinear, DegreeWeights

Method = Literal["sparse", "grid", "separable", "fft"]
CROSSOVER: list[tuple[int, Method]] = [(1, "sparse"), (11, "grid")]


class GauntTensorProduct(nn.Module):
    """Product of equivariant features as functions on the sphere, in any of four algorithms.

    Symmetry: O(3), exactly. Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216). With
    f = sum x_lm Y_lm and g = sum y_lm Y_lm, channel u with channel u,

        z_lm = integral of f g Y_lm         "gaunt": even l1 + l2 + l3, tau3 = tau1 tau2
        z_lm = integral of {f, g} Y_lm      "bracket": odd l1 + l2 + l3, tau3 = -tau1 tau2

    where tau = p (-1)^l and {f, g} = r . (grad f x grad g). Together ("all") they hold every
    Clebsch-Gordan path but those odd ones with a degree 0, which are no paths. The grouping by
    tau follows from p3 = p1 p2.

    Args:
        irreps_in1, irreps_in2, irreps_out: e3nn irreps, each irrep once, in e3nn's real basis.
        method: "sparse" (non-zero coefficients, O(L^5)), "grid" (quadrature by dense matrices,
            O(L^4)), "separable" (Legendre times Fourier, O(L^3)), "fft" (two-dimensional Fourier
            basis), all the same function. "auto" takes one by the highest degree, from the fixed
            table `CROSSOVER`, not from a measurement on this machine. The attribute `method` says
            which one it was; pass that name to have the same algorithm again.
        paths: "gaunt", "bracket" or "all".
        weights: None for the plain product: equal multiplicities, no normalisation. "degree" for
            the paper's weights w_l1 w_l2 w_l, learnt for every channel, and an integer K for the
            sum of K such products, which has the freedom of independent path weights from some
            K on. Learnt products keep unit variances at initialisation.
        mix: learn matrices over the channels in place of the weights, so that multiplicities are
            free; the product runs in K times the largest of them.

    Shapes:
        x [..., irreps_in1.dim], y [..., irreps_in2.dim], output [..., irreps_out.dim]; mul_ir.

    Tables are float64 and cast to the type of the inputs. Inside autocast, and for inputs in half
    precision, everything is computed in float32; the output is float32 inside autocast, else it has
    the type of the inputs.

    Raises:
        ValueError: irreps that are unreadable, repeated, unreachable or of unequal multiplicities;
            an unknown method, paths or weights; inputs of wrong or different shapes or types.

    Example:
        >>> tp = GauntTensorProduct("8x0e+8x1o", "8x0e+8x1o", "8x0e+8x1o+8x2e", method="grid")
        >>> x, y = torch.randn(5, 32), torch.randn(5, 32)
        >>> tp(x, y).shape
        torch.Size([5, 72])
        >>> torch.allclose(tp(x, y), tp(y, x))
        True
    """

    def __init__(
        self,
        irreps_in1: str | o3.Irreps,
        irreps_in2: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        *,
        method: Literal["auto"] | Method = "auto",
        paths: Paths = "gaunt",
        weights: Literal["degree"] | int | None = None,
        mix: bool = False,
    ) -> None:
        super().__init__()
        rank = _check_options(method, paths, weights, mix)
        self.irreps_in1 = read_irreps("irreps_in1", irreps_in1)
        self.irreps_in2 = read_irreps("irreps_in2", irreps_in2)
        self.irreps_out = read_irreps("irreps_out", irreps_out)
        self.paths: Paths = paths
        self.weights, self.mix = weights, mix
        if not mix:
            self._check_multiplicities()
        # plain numbers, because torch.compile cannot look into irreps
        self._sizes = [[(mul, ir.dim) for mul, ir in i] for i in self._irreps[:2]]
        self._dims = [i.dim for i in self._irreps]
        self._plan = [signals(i) for i in self._irreps]
        self._terms = terms(*self._irreps, paths)
        self.method: Method = choose_method(self._degrees) if method == "auto" else method
        self.product = self._product()
        self.before1, self.before2, self.after = self._maps(rank)

    @property
    def _irreps(self) -> tuple[o3.Irreps, o3.Irreps, o3.Irreps]:
        return self.irreps_in1, self.irreps_in2, self.irreps_out

    @property
    def _degrees(self) -> tuple[int, int, int]:
        first, second, out = (max(i.ls) for i in self._irreps)
        return first, second, out

    def reset_parameters(self) -> None:
        for layer in (self.before1, self.before2, self.after):
            if layer is not None:
                layer.reset_parameters()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """z [..., irreps_out.dim] of x and y."""
        self._check_inputs(x, y)
        autocast = torch.is_autocast_enabled(x.device.type)
        wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        off = torch.autocast(x.device.type, enabled=False) if autocast else nullcontext()
        with off:
            z = self._multiply(x.to(wide), y.to(wide))
        return z if autocast else z.to(x.dtype)

    def _multiply(self, x: Tensor, y: Tensor) -> Tensor:
        xs, ys = (_blocks(v, sizes) for v, sizes in zip((x, y), self._sizes, strict=True))
        if self.before1 is not None and self.before2 is not None:
            xs, ys = self.before1(xs), self.before2(ys)
        product = self.product(gather(xs, self._plan[0]), gather(ys, self._plan[1]))
        zs = scatter(product, self._plan[2])
        if self.after is not None:
            zs = self.after(zs)
        return torch.cat([z.flatten(-2) for z in zs], -1)

    def _product(self) -> nn.Module:
        first, second, out = self._plan
        if self.method == "sparse":
            return SparseProduct(first, second, out, self._terms)
        value, slopes = ("gaunt" in KINDS[self.paths], "bracket" in KINDS[self.paths])
        l1, l2, l3 = self._degrees
        kinds: dict[str, tuple[Any, Any, tuple[Any, ...], tuple[Any, ...]]] = {
            "grid": (GridValues, GridCoefficients, (l1 + l2 + l3,), (l1 + l2 + l3,)),
            "separable": (SeparableValues, SeparableCoefficients, (l1 + l2 + l3,), (l1 + l2 + l3,)),
        }
        bandwidth = l1 + l2
        # frequencies that fold onto those above the output's do no harm
        azimuths = max(bandwidth + min(l3, bandwidth), 2 * max(l1, l2)) + 1
        size = (2 * bandwidth + 1, azimuths)
        kinds["fft"] = (FourierValues, FourierCoefficients, (size,), (size, bandwidth))
        values, coefficients, there, back = kinds[self.method]
        before1, before2 = (
            [values(s, *there, value=value, slopes=slopes) for s in side]
            for side in (first, second)
        )
        after = [coefficients(s, *back) for s in out]
        return PointwiseProduct(before1, before2, after, self._terms)

    def _maps(self, rank: int) -> tuple[Any, Any, Any]:
        if not rank:
            return None, None, None
        first, second, out = self._irreps
        scales = [1 / sqrt(rank * v) for v in self._variances()]
        if not self.mix:
            inputs = [DegreeWeights(i, rank, [1.0] * len(i)) for i in (first, second)]
            return inputs[0], inputs[1], DegreeWeights(out, rank, scales, after=True)
        width = rank * max(mul for irreps in self._irreps for mul, _ in irreps)
        inputs = [
            DegreeLinear([(mul, width) for mul, _ in i], [1.0] * len(i)) for i in (first, second)
        ]
        scales = [scale * sqrt(rank) for scale in scales]  # DegreeLinear divides by the width
        return inputs[0], inputs[1], DegreeLinear([(width, mul) for mul, _ in out], scales)

    def _variances(self) -> list[float]:
        """Of a component of each output irrep, for inputs of unit variance."""
        first, second, out = self._irreps
        kinds = KINDS[self.paths]
        tables = [path_variances(*self._degrees, kind) for kind in kinds]
        return [
            sum(
                float(table[a.ir.l, b.ir.l, ir.l])
                for kind, table in zip(kinds, tables, strict=True)
                for a in first
                for b in second
                if connected(kind, a.ir, b.ir, ir)
            )
            for _, ir in out
        ]

    def _check_multiplicities(self) -> None:
        if len({mul for irreps in self._irreps for mul, _ in irreps}) > 1:
            first, second, out = self._irreps
            raise ValueError(
                f"multiplicities differ in {first}, {second} -> {out}: channels are multiplied one "
                "by one; make them equal, or mix them with weights='degree', mix=True."
            )

    def _check_inputs(self, x: Tensor, y: Tensor) -> None:
        for name, tensor, dim in (("x", x, self._dims[0]), ("y", y, self._dims[1])):
            if tensor.dim() == 0 or tensor.size(-1) != dim:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, but its last dimension must be "
                    f"{dim}, that of its irreps."
                )
            if not tensor.is_floating_point():
                raise ValueError(f"{name} has type {tensor.dtype}: convert it to floating point.")
        if x.shape[:-1] != y.shape[:-1]:
            raise ValueError(
                f"x {tuple(x.shape)} and y {tuple(y.shape)} must have the same leading dimensions: "
                "expand one of them."
            )
        if torch.is_autocast_enabled(x.device.type):
            return
        weight = next((p.dtype for p in self.parameters()), x.dtype)
        if not x.dtype == y.dtype == weight:
            raise ValueError(
                f"types differ: x is {x.dtype}, y {y.dtype} and the weights {weight}: convert "
                "them to one."
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in1}, {self.irreps_in2}, {self.irreps_out}, "
            f"method={self.method!r}, paths={self.paths!r}, weights={self.weights!r}, "
            f"mix={self.mix})"
        )


def choose_method(degrees: tuple[int, int, int]) -> Method:
    """The method that "auto" means, by the highest degree. Replace `CROSSOVER` to choose others."""
    for top, name in CROSSOVER:
        if max(degrees) <= top:
            return name
    return "separable"


def _blocks(x: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """[..., mul, 2l + 1] of each irrep, from their sizes (mul, 2l + 1)."""
    pieces = x.split([mul * dim for mul, dim in sizes], -1)
    return [p.unflatten(-1, size) for p, size in zip(pieces, sizes, strict=True)]


def _check_options(method: str, paths: str, weights: object, mix: bool) -> int:
    """The rank of the weights, 0 for the plain product."""
    for name, value, known in (
        ("method", method, ("auto", *get_args(Method))),
        ("paths", paths, get_args(Paths)),
    ):
        if value not in known:
            raise ValueError(f"{name} {value!r} is unknown: choose one of {', '.join(known)}.")
    if weights is None and mix:
        raise ValueError("mix=True needs learnt weights: add weights='degree' or a rank.")
    rank = 1 if weights == "degree" else weights
    if rank is None:
        return 0
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"weights must be None, 'degree' or a rank from 1 on, got {weights!r}.")
    return rank
