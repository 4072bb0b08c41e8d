"""The equivariance error: how far is a function from commuting with a group?

For a function f of named tensors and random elements g of a group, the equivariance error is

    max over g, max over outputs of  |f(g x) - g f(x)|_max / max(1, |f(x)|_max).

`geqlib.symmetry.types` lists the types, which say how g acts on a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from geqlib.symmetry.groups import Group, act, check_moves, elements, in_space, parse_group
from geqlib.symmetry.types import TensorType, Typed, parse_input, parse_type

OutputTypes = str | Sequence[str | None] | Mapping[str, str | None]


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
        fn: called as ``fn(**tensors)`` on copies of the inputs, in the caller's grad mode; numbers
            that it needs as well come by ``functools.partial(fn, num_graphs=4)``.
        inputs: name -> (tensor, type); the types are listed in `geqlib.symmetry.types`.
        outputs: a type if `fn` returns a tensor, a sequence of types if it returns a tuple, name ->
            type if it returns a mapping. None skips an output, and so does leaving out a name.
        group: "S_n"; O, SO, E, SE, T (translations), R+ (scalings), GL+, SL, Aff+ or SAff of (2)
            or (3); a product such as "S_n x E(3)"; or the matrices [n, d, d] of a finite group.
            Every other element of O and E is improper, the first one included. Stretches are those
            of `geqlib.symmetry.affine.random_matrices`; irreps take rotations only. Groups of the
            plane turn points in space about the z axis. The group, and each factor of a product,
            must move an input: an error of 0 would say nothing.
        samples: elements to draw; a finite group with no more elements is tested in full.
        seed: of a private generator: the global one is left alone.

    Returns:
        max |f(g x) - g f(x)| / max(1, max |f(x)|), each output on its own scale; NaN if an output
        is not finite.

    Raises:
        ValueError: for an unknown type or group, tensors whose shapes contradict them, or a group
            that moves none of the inputs.

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
    typed = {name: parse_input(f"input {name!r}", pair) for name, pair in inputs.items()}
    symmetry = in_space(parse_group(group), typed)
    sizes = level_sizes(typed, symmetry)
    for x, type_ in typed.values():
        check_shape(x, type_, symmetry, sizes)
    check_moves(symmetry, {name: type_ for name, (_, type_) in typed.items()}, "the function")
    reference = typed_outputs(fn(**{k: copy_like(x, x) for k, (x, _) in typed.items()}), outputs)
    for x, type_ in reference:
        check_shape(x, type_, symmetry, sizes)
    errors = []
    for g in elements(symmetry, typed, sizes, samples, torch.Generator().manual_seed(seed)):
        result = fn(**{k: copy_like(act(x, type_, g), x) for k, (x, type_) in typed.items()})
        for (x, type_), (y, _) in zip(reference, typed_outputs(result, outputs), strict=True):
            errors.append(_relative_error(type_.where, y, act(x, type_, g), x))
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
            f"{parse_group(group).label}: error {error:.3g} exceeds atol {atol:.3g} "
            f"(samples={samples}, seed={seed})."
        )


def level_sizes(inputs: Typed, group: Group) -> dict[str, int]:
    """Number of nodes and of edges, from the first input of each level."""
    sizes: dict[str, int] = {}
    for x, type_ in inputs.values():
        sizes.setdefault(type_.level, x.size(type_.axis) if x.ndim > type_.axis else 0)
    if group.permutes and "node" not in sizes:
        raise ValueError("S_n has nothing to permute: give an input with a type per node.")
    return sizes


def check_shape(x: Tensor, type_: TensorType, group: Group, sizes: Mapping[str, int]) -> None:
    """Raise a ValueError if the shape of a tensor contradicts its type or the other tensors."""
    shape, level = list(x.shape), type_.level
    has = f"{type_.where} has type {type_.text!r} and shape {shape}"
    if type_.kind == "edge_index" and (len(shape) != 2 or shape[0] != 2):
        raise ValueError(f"{has}: an edge_index must have shape [2, edges].")
    if type_.rotates and group.dim:
        if group.stretches and type_.degree > 0:
            raise ValueError(
                f"{has}, on which {group.label} does not act: irreps are of rotations. Give it as "
                "points, vectors or scalars, or take a group of rotations."
            )
        if not type_.cartesian and group.width != 3:
            raise ValueError(f"{has}: irreps need a group in 3 dimensions, not {group.label}.")
        width = type_.width(group.width)
        if shape[-1:] != [width]:
            raise ValueError(f"{has}: under {group.label} its last axis must be {width}.")
        if not x.is_floating_point():
            raise ValueError(f"{has}: it must be floating point, not {x.dtype}.")
    if group.permutes and level != "graph" and shape[type_.axis :][:1] != [sizes.get(level, 0)]:
        raise ValueError(
            f"{has}, but {group.label} permutes {sizes.get(level, 0)} {level}s: give it one entry "
            f"per {level}, or write its type after 'graph:' if it has one entry per graph."
        )
    if group.permutes and type_.kind == "edge_index" and x.numel() and x.max() >= sizes["node"]:
        raise ValueError(f"{has} and names node {int(x.max())} of only {sizes['node']} nodes.")


def copy_like(value: Tensor, like: Tensor) -> Tensor:
    """A leaf with the dtype, device and requires_grad of `like`: fn may do what it likes to it."""
    copy = value.detach().to(device=like.device, dtype=like.dtype, copy=True)
    return copy.requires_grad_(like.requires_grad)


def typed_outputs(result: Any, outputs: OutputTypes) -> list[tuple[Tensor, TensorType]]:
    """Copies of the outputs that have a type, each with its type."""
    if isinstance(outputs, str):
        named = [("the output", result, outputs)]
    elif isinstance(outputs, Mapping):
        if not isinstance(result, Mapping) or not outputs.keys() <= result.keys():
            got = sorted(result) if isinstance(result, Mapping) else type(result).__name__
            raise ValueError(f"outputs name {sorted(outputs)}, but the function returned {got}.")
        named = [(f"output {k!r}", result[k], text) for k, text in outputs.items()]
    else:
        if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
            got = len(result) if isinstance(result, (tuple, list)) else type(result).__name__
            raise ValueError(f"outputs has {len(outputs)} types, but the function returned {got}.")
        pairs = zip(result, outputs, strict=True)
        named = [(f"output {i}", value, text) for i, (value, text) in enumerate(pairs)]
    typed = [(x, parse_type(where, text)) for where, x, text in named if text is not None]
    if not typed:
        raise ValueError("outputs gives no type: name the type of at least one output.")
    others = [f"{t.where} is a {type(x).__name__}" for x, t in typed if not isinstance(x, Tensor)]
    if others:
        raise ValueError(f"{others[0]}: return a tensor, or write None for its type.")
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
