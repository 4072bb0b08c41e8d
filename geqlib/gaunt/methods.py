"""The four algorithms of Gaunt products: transforms A, B, C, and the fields that are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import torch
from e3nn import o3

from geqlib.gaunt.fourier import FourierTransform, SeparableTransform
from geqlib.gaunt.layout import KINDS, Paths, Signal, signals
from geqlib.gaunt.transforms import EntryTransform, GridTransform, Transform, nonzero_entries
from geqlib.sphere.coefficients import path_exists

Method = Literal["sparse", "grid", "separable", "fft"]
# what "auto" takes up to a degree, on CPUs and GPUs alike: see "Methods" in docs/gaunt.md
AUTO: list[tuple[int, Method]] = [(16, "grid"), (10**9, "separable")]
HALF = 8  # up to this degree whole matrices on the full sphere are faster than half as large ones


class Term(NamedTuple):
    """One product of fields, of x, y and z, each by signal and name, and its sign."""

    factors: tuple[tuple[int, str], tuple[int, str], tuple[int, str]]
    sign: int


def choose_method(degree: int) -> Method:
    """The method that "auto" means, by the highest degree."""
    return next(method for top, method in AUTO if degree <= top)


def build_transforms(
    irreps: Sequence[o3.Irreps], paths: Paths, method: Method
) -> tuple[tuple[Transform, ...], tuple[Term, ...]]:
    """A, B and C of both inputs and the output, and the products of their fields.

    Tables are made on the CPU, then moved to torch's default device, unless that holds no values
    ("meta").

    Args:
        irreps: of both inputs and the output, all of one multiplicity.
        paths: "gaunt", "bracket" or "all".
        method: the algorithm.
    """
    device = torch.get_default_device()
    with torch.device("cpu"):
        build = _entry_transforms if method == "sparse" else _point_transforms
        transforms, terms = build(irreps, paths, method)
    if device.type != "meta":
        transforms = [t.to(device) for t in transforms]
    return tuple(transforms), tuple(terms)


def _entry_transforms(irreps: Any, paths: Paths, method: Method) -> tuple[Any, list[Term]]:
    (i, j, k), value = nonzero_entries(irreps, KINDS[paths])
    first, second, out = irreps
    whole = (0, "value")
    return [
        EntryTransform(first, index=i),
        EntryTransform(second, index=j),
        EntryTransform(out, index=k, value=value),
    ], [Term((whole, whole, whole), 1)]


def _point_transforms(irreps: Any, paths: Paths, method: Method) -> tuple[Any, list[Term]]:
    l1, l2, l3 = (max(i.ls) for i in irreps)
    split = method == "separable" or (method == "grid" and max(l1, l2, l3) > HALF)
    parts = [signals(i, split=split) for i in irreps]
    kinds = KINDS[paths]
    fields = ["value"] * ("gaunt" in kinds) + ["slope", "azimuthal"] * ("bracket" in kinds)
    build: Any = {"grid": GridTransform, "separable": SeparableTransform, "fft": FourierTransform}
    options: Any = {"degree": l1 + l2 + l3, "weighted": False}
    last: Any = {"degree": l1 + l2 + l3, "weighted": True}
    if method == "fft":
        bandwidth = l1 + l2
        # frequencies that fold onto those above the output's do no harm
        azimuths = max(bandwidth + min(l3, bandwidth), 2 * max(l1, l2)) + 1
        options = {"size": (2 * bandwidth + 1, azimuths)}
        last = options | {"bandwidth": bandwidth}
    transforms = [
        build[method](side, part, names, **more)
        for side, part, names, more in zip(
            irreps, parts, (fields, fields, ["value"]), (options, options, last), strict=True
        )
    ]
    return transforms, _terms(parts, paths)


def _terms(parts: Sequence[Sequence[Signal]], paths: Paths) -> list[Term]:
    """f g h, and df/dt (dg/dp / sin t) h - (df/dp / sin t) dg/dt h, of signals with a path."""
    names = {
        "gaunt": [("value", "value", 1)],
        "bracket": [("slope", "azimuthal", 1), ("azimuthal", "slope", -1)],
    }
    first, second, out = (list(enumerate(part)) for part in parts)
    return [
        Term(((i, a), (j, b), (k, "value")), sign)
        for kind, (i, f), (j, g), (k, h) in product(KINDS[paths], first, second, out)
        if _has_path(kind, f, g, h)
        for a, b, sign in names[kind]
    ]


def _has_path(kind: Any, f: Signal, g: Signal, h: Signal) -> bool:
    flip = 1 if kind == "gaunt" else -1
    if (f.tau * g.tau, f.sign * g.sign) != (flip * h.tau, flip * h.sign):
        return False
    return any(path_exists(kind, *ells) for ells in product(f.degrees, g.degrees, h.degrees))
