"""The Gaunt tensor product: features multiplied as functions on the sphere."""

from __future__ import annotations

from contextlib import nullcontext
from math import sqrt
from typing import Any, Literal, cast, get_args

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.choice import METHODS, choose_method
from geqlib.gaunt.layout import (
    KINDS,
    Paths,
    connected,
    read_irreps,
    terms,
)
from geqlib.gaunt.methods import Method, product_form
from geqlib.gaunt.weights import DegreeLinear, DegreeWeights
from geqlib.sphere.coefficients import path_variances


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
            basis), all the same function. "auto" takes the fastest on this machine, by
            `geqlib.gaunt.choice.choose_method`; the attribute `method` says which one it was.
            The state dict holds it, so that a loaded model computes the same bits.
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
        terms(*self._irreps, paths)  # says which irreps no path reaches
        # plain numbers, because torch.compile cannot look into irreps
        self._inner = inner = self._inner_irreps(rank)
        self._sizes = [[(mul, ir.dim) for mul, ir in i] for i in (*self._irreps[:2], inner[2])]
        self._dims = [i.dim for i in self._irreps]
        self._auto = method == "auto"
        self.method: Method = choose_method(inner, paths) if method == "auto" else method
        self.before1, self.before2, self.after = self._maps(rank)
        self.product = product_form(inner, paths, self.method)

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
        flat = [v.reshape(-1, v.size(-1)) for v in (x, y)]
        if self.before1 is not None and self.before2 is not None:
            first, second, _ = self._sizes
            flat = [_mapped(self.before1, flat[0], first), _mapped(self.before2, flat[1], second)]
        z = self.product(*flat)
        if self.after is not None:
            z = _mapped(self.after, z, self._sizes[2])
        return z.view(*x.shape[:-1], z.size(-1))

    def _inner_irreps(self, rank: int) -> list[o3.Irreps]:
        """The irreps between the learnt maps."""
        width = max(mul for irreps in self._irreps for mul, _ in irreps) * max(rank, 1)
        inner = [o3.Irreps([(width, ir) for _, ir in irreps]) for irreps in self._irreps]
        return cast(list[o3.Irreps], inner)

    def get_extra_state(self) -> Tensor:
        """The method, as its number in `METHODS`: a tensor, which every format of weights holds."""
        return torch.tensor(METHODS.index(self.method), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Any) -> None:
        """Take over what "auto" chose when the state was saved; a method by name stays."""
        if not (self._auto and _is_choice(state)) or METHODS[int(state)] == self.method:
            return
        device = next(self.product.buffers()).device
        self.method = METHODS[int(state)]
        self.product = product_form(self._inner, self.paths, self.method).to(device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # states of the first version do not say which method: they may keep this one
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

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
        with torch.device("cpu"):
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
        weight = x.dtype
        if self.before1 is not None:
            weight = next(self.before1.parameters()).dtype
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


def _is_choice(state: object) -> bool:
    return (
        isinstance(state, Tensor)
        and (state.dtype, state.numel()) == (torch.uint8, 1)
        and not state.is_meta
        and int(state) < len(METHODS)
    )


def _mapped(layer: nn.Module, x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    """A map of the blocks [n, mul, 2l + 1] of irreps, from their sizes (mul, 2l + 1)."""
    pieces = x.split([mul * dim for mul, dim in sizes], -1)
    blocks = layer([p.unflatten(-1, size) for p, size in zip(pieces, sizes, strict=True)])
    return torch.cat([block.flatten(-2) for block in blocks], -1)


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
