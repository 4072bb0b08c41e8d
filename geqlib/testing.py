"""The ruler for symmetry: how far is a function from commuting with a group?

For a function f of named tensors and random elements g of a group, the equivariance error is

    max over g, max over outputs of  |f(g x) - g f(x)|_max / max(1, |f(x)|_max).

A type says how g acts on a tensor. With g = (R, t, permutation of nodes, shuffle of edges):

    "scalar"      [N, ...]       unchanged
    "point"       [N, ..., d]    x -> R x + t, d = 2 or 3
    "vector"      [N, ..., d]    x -> R x
    "4x0e+2x1o"   [N, ..., dim]  x -> D(R) x, e3nn irreps: real basis, polar axis y, parity included
    "edge_index"  [2, E]         node numbers are relabelled
    "edge_scalar" [E, ...]       unchanged, the same as "edge:scalar"
    "index"       [N, ...]       integers, unchanged
    "batch"       [N]            graph of each node: nodes are only exchanged within their graph

Rows are nodes and follow the permutation, unless the type says "edge:..." (rows follow the shuffle
of the edges) or "graph:..." (rows stay, also for a 0-dimensional output).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OutputTypes = str | Sequence[str | None] | Mapping[str, str | None]

_NAMED = {
    "index": ("node", "scalar"),
    "batch": ("node", "batch"),
    "edge_index": ("edge", "edge_index"),
    "edge_scalar": ("edge", "scalar"),
}


def equivariance_error(
    fn: Callable[..., Any],
    inputs: Mapping[str, tuple[Tensor, str]],
    outputs: OutputTypes,
    group: str | Tensor,
    samples: int = 8,
    seed: int = 0,
) -> float:
    """Largest relative violation of f(g x) = g f(x) over random elements g of a group.

    Args:
        fn: called as ``fn(**tensors)`` on copies of the inputs, in the caller's grad mode.
        inputs: name -> (tensor, type); the types are listed at the top of this module.
        outputs: a type if `fn` returns a tensor, a sequence of types if it returns a tuple, name ->
            type if it returns a mapping. None skips an output, and so does leaving out a name.
        group: "S_n"; O, SO, E, SE or T (translations) of (2) or (3); a product such as
            "S_n x E(3)"; or the matrices [n, d, d] of a finite group. Every other element of O and
            E is improper, the first one included.
        samples: elements to draw; a finite group with no more elements is tested in full.
        seed: of a private generator: the global one is left alone.

    Returns:
        max |f(g x) - g f(x)| / max(1, max |f(x)|), each output on its own scale; NaN if an output
        is not finite.

    Raises:
        ValueError: for an unknown type or group, or tensors whose shapes contradict them.

    Example:
        >>> x = torch.arange(12, dtype=torch.float64).view(4, 3).sin()
        >>> def length(x): return x.norm(dim=1)
        >>> equivariance_error(length, {"x": (x, "vector")}, "scalar", "O(3)") < 1e-12
        True
        >>> equivariance_error(length, {"x": (x, "point")}, "scalar", "E(3)") > 0.1
        True
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    symmetry = _parse_group(group)
    typed = {name: _parse_input(f"input {name!r}", pair) for name, pair in inputs.items()}
    sizes = _sizes(typed, symmetry)
    for x, type_ in typed.values():
        _check_shape(x, type_, symmetry, sizes)
    reference = _typed_outputs(fn(**{k: _copy(x, x) for k, (x, _) in typed.items()}), outputs)
    for x, type_ in reference:
        _check_shape(x, type_, symmetry, sizes)
    errors = []
    for g in _elements(symmetry, typed, sizes, samples, torch.Generator().manual_seed(seed)):
        result = fn(**{k: _copy(_act(x, type_, g), x) for k, (x, type_) in typed.items()})
        for (x, type_), (y, _) in zip(reference, _typed_outputs(result, outputs), strict=True):
            errors.append(_relative_error(type_.where, y, _act(x, type_, g), x))
    return float(torch.stack(errors).max())


def assert_equivariant(
    fn: Callable[..., Any],
    inputs: Mapping[str, tuple[Tensor, str]],
    outputs: OutputTypes,
    group: str | Tensor,
    atol: float = 1e-5,
    samples: int = 8,
    seed: int = 0,
) -> None:
    """Fail unless :func:`equivariance_error`, whose arguments these are, is at most `atol`.

    Raises:
        AssertionError: with the measured error, the group and the tolerance.
        ValueError: see :func:`equivariance_error`.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0]])
        >>> inputs = {"x": (x, "point")}
        >>> assert_equivariant(lambda x: x.mean(0), inputs, "graph:point", "S_n x E(2)")
    """
    error = equivariance_error(fn, inputs, outputs, group, samples, seed)
    if not error <= atol:  # also true for NaN
        raise AssertionError(
            f"{getattr(fn, '__name__', type(fn).__name__)} is not equivariant under "
            f"{_parse_group(group).label}: error {error:.3g} exceeds atol {atol:.3g} "
            f"(samples={samples}, seed={seed})."
        )


def random_rotation(
    d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, improper: bool = False
) -> Tensor:
    """Haar-random rotation [d, d], made in float64 and cast; `improper` gives determinant -1."""
    q, r = torch.linalg.qr(random_translation(d * d, generator).view(d, d))
    q = q * r.diagonal().sign()  # without the signs QR is not Haar distributed
    flip = torch.linalg.det(q).sign() * (-1 if improper else 1)
    return torch.cat([q[:, :1] * flip, q[:, 1:]], dim=1).to(dtype)


def random_translation(
    d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Standard normal vector [d], made in float64 and cast."""
    shift = torch.randn(d, generator=generator, dtype=torch.float64, device=generator.device)
    return shift.to(dtype)


def degenerate_sets(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Symmetric and singular point sets: name -> positions [n, 3], spacing about 1.

    Distances of zero, vanishing centred positions, rank-deficient and isotropic covariances: what
    breaks frames, norms and angles.

    Example:
        >>> degenerate_sets(torch.float32)["two"]
        tensor([[ 0.2500,  0.5000, -0.1250],
                [-0.2500, -0.5000,  0.1250]])
    """
    cube = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3)
    axes = torch.eye(3, dtype=torch.float64)
    line = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
    sets = {
        "single": line,
        "single_at_origin": 0 * line,
        "two": torch.cat([line, -line]) / 4,
        "coincident": line.repeat(4, 1),
        "coincident_at_origin": 0 * line.repeat(4, 1),
        "coincident_pair": torch.cat([axes, axes[:1], -line]),
        "collinear": torch.arange(-2.0, 3.0, dtype=torch.float64)[:, None] * line,
        "collinear_uneven": axes[:1] * line.new_tensor([[-1.0], [0.0], [0.3], [2.0]]),
        "planar": line.new_tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0], [1.5, 1, 0], [-1, 0.7, 0]]),
        "triangle": _polygon(3),
        "square": _polygon(4),
        "hexagon": _polygon(6),
        "hexagon_centred": torch.cat([_polygon(6), 0 * axes[:1]]),
        "tetrahedron": cube[cube.prod(dim=1) > 0],
        "cube": cube,
        "octahedron": torch.cat([axes, -axes]),
        "octahedron_centred": torch.cat([axes, -axes, 0 * axes[:1]]),
        "prism": torch.cat([_polygon(3) + 0.4 * axes[2], _polygon(3) - 0.4 * axes[2]]),
        "far_away": axes + 1000 * line,
    }
    return {name: pos.to(dtype) for name, pos in sets.items()}


def _polygon(n: int) -> Tensor:
    """Regular polygon [n, 3] of radius 1 in the plane z = 0."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)


@dataclass(frozen=True)
class _Type:
    where: str  # "input 'pos'", for messages
    text: str
    rows: str  # "node", "edge" or "graph"
    kind: str  # "scalar", "point", "vector", "batch", "edge_index" or an irreps string

    @property
    def axis(self) -> int:
        return 1 if self.kind == "edge_index" else 0

    @property
    def rotates(self) -> bool:
        return self.kind not in ("scalar", "batch", "edge_index")


@dataclass(frozen=True)
class _Group:
    label: str
    permutes: bool = False
    dim: int = 0
    rotates: bool = False
    reflects: bool = False
    translates: bool = False
    matrices: Tensor | None = None


@dataclass(frozen=True)
class _Element:
    matrix: Tensor | None
    shift: Tensor | None
    nodes: Tensor | None  # new row i is old row nodes[i]
    edges: Tensor | None


_Typed = Mapping[str, tuple[Tensor, _Type]]


def _parse_type(where: str, text: str) -> _Type:
    rows, _, kind = text.rpartition(":")
    rows, kind = _NAMED.get(text, (rows or "node", kind))
    known = text in _NAMED or kind in ("scalar", "point", "vector") or _irreps_dim(kind) > 0
    if not known or rows not in ("node", "edge", "graph"):
        raise ValueError(
            f"{where} has the unknown type {text!r}: write 'scalar', 'point', 'vector' or e3nn "
            "irreps such as '4x0e+2x1o', after 'graph:' or 'edge:' if its rows are no nodes, or "
            "'index', 'batch', 'edge_index', 'edge_scalar'."
        )
    return _Type(where, text, rows, kind)


def _irreps_dim(text: str) -> int:
    """Dimension of an irreps string, 0 if it is none."""
    from e3nn import o3  # here, as e3nn takes a second to import

    try:
        return o3.Irreps(text).dim
    except ValueError:
        return 0


def _parse_input(where: str, pair: tuple[Tensor, str]) -> tuple[Tensor, _Type]:
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Tensor)):
        raise ValueError(f"{where} must be a pair (tensor, type), got {type(pair).__name__}.")
    return pair[0], _parse_type(where, pair[1])


def _parse_group(group: str | Tensor) -> _Group:
    if isinstance(group, Tensor):
        return _finite_group(group)
    found = [re.fullmatch(r"S_n|(O|SO|E|SE|T)\(([23])\)", f) for f in re.split(r"\s*x\s*", group)]
    factors = [(m[1], m[2]) for m in found if m is not None]
    if len(factors) < len(found):
        raise ValueError(
            f"group {group!r} is unknown: write 'S_n', 'O', 'SO', 'E', 'SE' or 'T' with (2) or (3),"
            " a product such as 'S_n x E(3)', or give a tensor [n, d, d] of matrices."
        )
    names, dims = {name for name, _ in factors}, {int(d) for _, d in factors if d}
    if len(dims) > 1:
        raise ValueError(f"group {group!r} mixes 2 and 3 dimensions: keep one of them.")
    return _Group(
        group,
        permutes=None in names,
        dim=max(dims, default=0),
        rotates=bool(names & {"O", "SO", "E", "SE"}),
        reflects=bool(names & {"O", "E"}),
        translates=bool(names & {"E", "SE", "T"}),
    )


def _finite_group(matrices: Tensor) -> _Group:
    shape = list(matrices.shape)
    if len(shape) != 3 or shape[0] == 0 or shape[1:] not in ([2, 2], [3, 3]):
        raise ValueError(f"a finite group must have shape [n, 2, 2] or [n, 3, 3], got {shape}.")
    m = matrices.detach().cpu().double()
    u, _, vh = torch.linalg.svd(m)
    if not torch.allclose(u @ vh, m, atol=1e-4):
        raise ValueError("a finite group must consist of orthogonal matrices: normalise them.")
    label = f"the finite group of {shape[0]} matrices"
    return _Group(label, dim=shape[1], matrices=u @ vh)  # exact even if given in float32


def _sizes(inputs: _Typed, group: _Group) -> dict[str, int]:
    """Number of nodes and of edges, from the first input that has such rows."""
    sizes: dict[str, int] = {}
    for x, type_ in inputs.values():
        sizes.setdefault(type_.rows, x.size(type_.axis) if x.ndim > type_.axis else 0)
    if group.permutes and "node" not in sizes:
        raise ValueError("S_n has nothing to permute: give an input whose rows are nodes.")
    return sizes


def _check_shape(x: Tensor, type_: _Type, group: _Group, sizes: Mapping[str, int]) -> None:
    shape, rows = list(x.shape), type_.rows
    has = f"{type_.where} has type {type_.text!r} and shape {shape}"
    if type_.kind == "edge_index" and (len(shape) != 2 or shape[0] != 2):
        raise ValueError(f"{has}: an edge_index must have shape [2, edges].")
    if type_.rotates and group.dim:
        cartesian = type_.kind in ("point", "vector")
        if not cartesian and group.dim != 3:
            raise ValueError(f"{has}: irreps need a group in 3 dimensions, not {group.label}.")
        last = group.dim if cartesian else _irreps_dim(type_.kind)
        if shape[-1:] != [last]:
            raise ValueError(f"{has}: under {group.label} its last axis must be {last}.")
        if not x.is_floating_point():
            raise ValueError(f"{has}: it must be floating point, not {x.dtype}.")
    if group.permutes and rows != "graph" and shape[type_.axis :][:1] != [sizes.get(rows, 0)]:
        raise ValueError(
            f"{has}, but {group.label} permutes {sizes.get(rows, 0)} {rows}s: give it one row a "
            f"{rows}, or a type after 'graph:' if its rows are graphs."
        )
    if group.permutes and type_.kind == "edge_index" and x.numel() and x.max() >= sizes["node"]:
        raise ValueError(f"{has} and names node {int(x.max())} of only {sizes['node']} nodes.")


def _elements(
    group: _Group,
    inputs: _Typed,
    sizes: Mapping[str, int],
    samples: int,
    generator: torch.Generator,
) -> Iterator[_Element]:
    """Random elements of the group; improper ones come first and then in turn."""
    batch = next((x.cpu() for x, type_ in inputs.values() if type_.kind == "batch"), None)
    matrices = group.matrices
    if matrices is not None:
        matrices = matrices[torch.randperm(len(matrices), generator=generator)[:samples]]
    for i in range(samples if matrices is None else len(matrices)):
        matrix = None if matrices is None else matrices[i]
        if group.rotates:
            improper = group.reflects and i % 2 == 0
            matrix = random_rotation(group.dim, generator, improper=improper)
        shift = random_translation(group.dim, generator) if group.translates else None
        nodes = edges = None
        if group.permutes:
            nodes = torch.randperm(sizes["node"], generator=generator)
            if batch is not None:  # keeps a sorted batch sorted
                nodes = nodes[batch[nodes].argsort(stable=True)]
            edges = torch.randperm(sizes.get("edge", 0), generator=generator)
        yield _Element(matrix, shift, nodes, edges)


def _act(x: Tensor, type_: _Type, g: _Element) -> Tensor:
    """g x, in float64 on the CPU for what rotates: free of TF32 and of low precision."""
    x = x.detach().cpu()
    if type_.rotates:
        x = x.double()
        if g.matrix is not None and type_.kind in ("point", "vector"):
            x = x @ g.matrix.T
        elif g.matrix is not None:
            x = _act_irreps(x, type_.kind, g.matrix)
        if g.shift is not None and type_.kind == "point":
            x = x + g.shift
    if type_.kind == "edge_index" and g.nodes is not None:
        x = g.nodes.argsort()[x]
    rows = {"node": g.nodes, "edge": g.edges}.get(type_.rows)
    return x if rows is None else x.index_select(type_.axis, rows)


def _act_irreps(x: Tensor, irreps: str, matrix: Tensor) -> Tensor:
    from e3nn import o3

    sign = torch.linalg.det(matrix).sign()
    parts: list[tuple[int, Any]] = [(mul, ir) for mul, ir in o3.Irreps(irreps)]
    blocks = []
    for block, (mul, ir) in zip(
        x.split([m * ir.dim for m, ir in parts], dim=-1), parts, strict=True
    ):
        d = _wigner(ir.l, sign * matrix) * (ir.p if sign < 0 else 1)
        blocks.append((block.unflatten(-1, (mul, ir.dim)) @ d.T).flatten(-2))
    return torch.cat(blocks, dim=-1)


def _wigner(degree: int, rotation: Tensor) -> Tensor:
    """D^l of e3nn from D^k = (2k+1) C (R x D^(k-1)) C, C = wigner_3j(1, k-1, k) and D^1 = R.

    e3nn's D_from_matrix is off by 1e-6 in float64, for its generators are made in float32.
    """
    from e3nn import o3

    d = torch.ones(1, 1, dtype=torch.float64)
    for k in range(1, degree + 1):
        c = o3.wigner_3j(1, k - 1, k, dtype=torch.float64)
        d = (2 * k + 1) * torch.einsum("ijk,ia,jb,abc->kc", c, rotation, d, c)
    return d


def _copy(value: Tensor, like: Tensor) -> Tensor:
    """A leaf with the dtype, device and requires_grad of `like`: fn may do what it likes to it."""
    copy = value.detach().to(device=like.device, dtype=like.dtype, copy=True)
    return copy.requires_grad_(like.requires_grad)


def _typed_outputs(result: Any, outputs: OutputTypes) -> list[tuple[Tensor, _Type]]:
    """Copies of the outputs that have a type, each with its type."""
    if isinstance(outputs, str):
        found = [("the output", result, outputs)]
    elif isinstance(outputs, Mapping):
        if not isinstance(result, Mapping) or not outputs.keys() <= result.keys():
            got = sorted(result) if isinstance(result, Mapping) else type(result).__name__
            raise ValueError(f"outputs name {sorted(outputs)}, but the function returned {got}.")
        found = [(f"output {k!r}", result[k], text) for k, text in outputs.items()]
    else:
        if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
            got = len(result) if isinstance(result, (tuple, list)) else type(result).__name__
            raise ValueError(f"outputs has {len(outputs)} types, but the function returned {got}.")
        pairs = zip(result, outputs, strict=True)
        found = [(f"output {i}", value, text) for i, (value, text) in enumerate(pairs)]
    typed = [(x, _parse_type(where, text)) for where, x, text in found if text is not None]
    if not typed:
        raise ValueError("outputs gives no type: name the type of at least one output.")
    strays = [f"{t.where} is a {type(x).__name__}" for x, t in typed if not isinstance(x, Tensor)]
    if strays:
        raise ValueError(f"{strays[0]}: return a tensor, or write None for its type.")
    # cloned, for a function that reuses its output buffer would be compared with itself
    return [(x.detach().clone(), type_) for x, type_ in typed]


def _relative_error(where: str, got: Tensor, expected: Tensor, reference: Tensor) -> Tensor:
    """Max |got - expected| / max(1, max |reference|), a 0-dimensional float64."""
    if got.shape != expected.shape:
        raise ValueError(
            f"{where} has shape {list(expected.shape)} at x but {list(got.shape)} at g x: "
            "its shape must not depend on g."
        )
    if got.numel() == 0:
        return torch.zeros((), dtype=torch.float64)
    wide = torch.promote_types(got.dtype, torch.float64)
    difference = (got.cpu().to(wide) - expected.to(wide)).abs().max()
    return difference / reference.cpu().to(wide).abs().max().clamp(min=1)
