"""The Gaunt tensor product: features multiplied as functions on the sphere.

    z = C^T ((A x) * (B y))

A and B evaluate the functions that x and y are coefficients of, at points; * multiplies there; and
C^T integrates against the harmonics of the output. Its gradients are the same function with A, B
and C exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from math import sqrt
from typing import Any, Literal, cast, get_args

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import KINDS, Paths, connected, reachable, read_irreps
from geqlib.gaunt.methods import Method, Term, build_transforms, choose_method
from geqlib.gaunt.transforms import GridTransform, Transform, Values
from geqlib.gaunt.weights import DegreeLinear, DegreeWeights
from geqlib.graph.checks import check_devices
from geqlib.graph.functional import autocast_device, refuse_two_forward_modes, without_autocast
from geqlib.kernels.selection import fused
from geqlib.sphere.coefficients import path_variances

PIECE = 2**20  # bytes of a field that is worked on at once on a CPU, about half of its cache
MOST_COEFFICIENTS = 32  # of the fused kernel, which keeps them in registers: degrees up to 4


class PointwiseProduct(torch.autograd.Function):
    """z = C^T ((A x) * (B y)), the derivative by z of the form T = sum of (A x) * (B y) * (C z).

    Keeps x and y only. The gradients of T by x and y are this function with other factors, so that
    derivatives of every order exist. On a GPU it is one kernel where `_single_matrices` says so.
    """

    @staticmethod
    def forward(
        x: Tensor, y: Tensor, transforms: tuple[Transform, ...], terms: tuple[Term, ...]
    ) -> Tensor:
        a, b, c = transforms
        if fused("grid_product", x, y, supported=_single_matrices(x, y, transforms, terms)):
            from geqlib.kernels.grid_product_triton import Side, grid_product

            sides = [Side(t.get_buffer("matrix0"), t.columns.order) for t in transforms]
            return grid_product(x, y, *sides)
        # a backward pass may be called inside autocast, which would round the matrix products
        with without_autocast(x):
            parts = [
                c.adjoint(multiply(a.values(x[n]), b.values(y[n]), terms), x[n])
                for n in _pieces(x, max(t.points for t in transforms) * a.columns.channels)
            ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.transforms, ctx.terms = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x, y), (a, b, c) = ctx.saved_tensors, ctx.transforms
        need_x, need_y, *_ = ctx.needs_input_grad
        by_x = pointwise_product(grads[0], y, (c, b, a), _swapped(ctx.terms, 0)) if need_x else None
        by_y = pointwise_product(x, grads[0], (a, c, b), _swapped(ctx.terms, 1)) if need_y else None
        return by_x, by_y, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dy: Tensor | None, *_: None) -> Any:
        refuse_two_forward_modes()
        (x, y), rest = ctx.saved_tensors, (ctx.transforms, ctx.terms)
        by_x = 0 if dx is None else pointwise_product(dx, y, *rest)
        return by_x if dy is None else by_x + pointwise_product(x, dy, *rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, y: Tensor, *rest: Any) -> Any:
        """Vectorised arguments are more rows."""
        x, y = (
            v.expand(info.batch_size, *v.shape) if dim is None else v.movedim(dim, 0)
            for v, dim in zip((x, y), in_dims[:2], strict=True)
        )
        z = pointwise_product(x.flatten(0, 1), y.flatten(0, 1), *rest)
        return z.unflatten(0, x.shape[:2]), 0


def pointwise_product(x: Tensor, y: Tensor, transforms: Any, terms: Any) -> Tensor:
    """z [n, D3] = C^T ((A x) * (B y)) of x [n, D1] and y [n, D2], for transforms A, B and C."""
    # compiled code would lose the second derivatives of a custom function, without a word
    compute = PointwiseProduct.forward if torch.compiler.is_compiling() else PointwiseProduct.apply
    result: Any = compute(x, y, transforms, terms)
    return result


def multiply(f: Values, g: Values, terms: Sequence[Term]) -> Values:
    """Fields of the product: for each of them the sum over its terms of +-f g."""
    h: Values = {}
    for (i, j, k), sign in terms:
        if k in h:
            h[k] = torch.addcmul(h[k], f[i], g[j], value=sign)
        else:
            h[k] = f[i] * g[j] if sign > 0 else -f[i] * g[j]
    return h


def _single_matrices(
    x: Tensor, y: Tensor, transforms: Sequence[Transform], terms: Sequence[Term]
) -> bool:
    """Whether A, B and C are one small matrix each: "grid" with one function on every side."""
    return (
        x.dtype == y.dtype in (torch.float32, torch.float64)
        and all(isinstance(t, GridTransform) for t in transforms)
        and all(len(t.columns.sizes) == 1 and t.fields == ["value"] for t in transforms)
        and max(t.columns.size for t in transforms) <= MOST_COEFFICIENTS
        and [term.sign for term in terms] == [1]
    )


def _swapped(terms: Sequence[Term], role: int) -> tuple[Term, ...]:
    """The terms with the third factor and the first or second one exchanged."""
    order = [(2, 1, 0), (0, 2, 1)][role]
    return tuple(Term(tuple(t.factors[n] for n in order), t.sign) for t in terms)  # type: ignore


def _pieces(x: Tensor, floats: int) -> list[slice]:
    """Slices of rows, each of which makes `floats` numbers per field; all at once on a GPU."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(None)]
    count = max(round(len(x) * floats * x.element_size() / PIECE), 1)
    rows = max(-(-len(x) // count), 1)
    return [slice(start, start + rows) for start in range(0, max(len(x), 1), rows)]


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
            basis), all the same function. "auto" goes by the highest degree, by the fixed table
            `geqlib.gaunt.methods.AUTO`; the attribute `method` says which one it took.
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
            an unknown method, paths or weights; inputs of wrong or different shapes, types or
            devices.

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
        self.weights, self.mix, self.rank = weights, mix, rank
        self._check_irreps()
        # plain numbers, because torch.compile cannot look into irreps
        self._dims = [i.dim for i in self._irreps]
        top = max(ell for i in self._irreps for ell in i.ls)
        self.method: Method = choose_method(top) if method == "auto" else method
        self.before1, self.before2, self.after = self._maps()
        width = rank * max(mul for i in self._irreps for mul, _ in i) if mix else 0
        inner = [_widened(i, width) if width else i for i in self._irreps]
        transforms, self.terms = build_transforms(inner, paths, self.method)
        self.transforms = nn.ModuleList(transforms)

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
        autocast = torch.is_autocast_enabled(autocast_device(x))
        wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        with without_autocast(x) if autocast else nullcontext():
            z = self._multiply(x.to(wide), y.to(wide))
        return z if autocast else z.to(x.dtype)

    def _multiply(self, x: Tensor, y: Tensor) -> Tensor:
        if self.before1 is not None:
            x, y = self.before1(x), self.before2(y)
        first, second = (v.reshape(-1, v.size(-1)) for v in (x, y))
        z = pointwise_product(first, second, tuple(self.transforms), self.terms)
        z = z.view(*x.shape[:-1], z.size(-1))
        return z if self.after is None else self.after(z)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # the first edition kept its measured choice of a method there
        state_dict.pop(f"{prefix}_extra_state", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _maps(self) -> tuple[Any, Any, Any]:
        """Learnt maps of x, y and z; products keep unit variances."""
        first, second, out = self._irreps
        if not self.rank:
            return None, None, None
        scales = [1 / sqrt(v) for v in self._variances()]
        if not self.mix:
            return (
                DegreeWeights(first, self.rank),
                DegreeWeights(second, self.rank),
                DegreeWeights(out, self.rank, scales, after=True),
            )
        width = self.rank * max(mul for irreps in self._irreps for mul, _ in irreps)
        wide = [_widened(i, width) for i in self._irreps]
        return (
            DegreeLinear(first, wide[0]),
            DegreeLinear(second, wide[1]),
            DegreeLinear(wide[2], out, scales),
        )

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

    def _check_irreps(self) -> None:
        first, second, out = self._irreps
        if not self.mix and len({mul for irreps in self._irreps for mul, _ in irreps}) > 1:
            raise ValueError(
                f"multiplicities differ in {first}, {second} -> {out}: channels are multiplied one "
                "by one; make them equal, or mix them with weights='degree', mix=True."
            )
        for _, ir in out:
            if not reachable(first, second, ir, self.paths):
                raise ValueError(
                    f"irreps_out has {ir}, which no path of paths={self.paths!r} reaches from "
                    f"{first} and {second}: leave it out, or change its parity or `paths`."
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
        check_devices(next(self.transforms.buffers()).device, x=x, y=y)
        if torch.is_autocast_enabled(autocast_device(x)):
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


def _widened(irreps: o3.Irreps, channels: int) -> o3.Irreps:
    """The same irreps, each with so many channels."""
    return cast(o3.Irreps, o3.Irreps([(channels, ir) for _, ir in irreps]))


def _check_options(method: str, paths: str, weights: object, mix: bool) -> int:
    """The rank of the weights, 0 for the plain product."""
    for name, value, choices in (
        ("method", method, ("auto", *get_args(Method))),
        ("paths", paths, get_args(Paths)),
    ):
        if value not in choices:
            raise ValueError(f"{name} {value!r} is unknown: choose one of {', '.join(choices)}.")
    if weights is None and mix:
        raise ValueError("mix=True needs learnt weights: add weights='degree' or a rank.")
    rank = 1 if weights == "degree" else weights
    if rank is None:
        return 0
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"weights must be None, 'degree' or a rank from 1 on, got {weights!r}.")
    return rank
