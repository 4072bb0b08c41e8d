"""Irreps as functions on the sphere: which blocks of a tensor make up which function.

An irrep of degree l and parity p belongs to a function of type tau = p (-1)^l: 1 for functions
that reflections only move (0e, 1o, 2e, ...), -1 for those that also change sign (0o, 1e, 2o, ...).
Each is split by s = (-1)^l, its own sign under the antipode, so that half a sphere of points holds
all of it. Signs multiply: a product f g has (tau1 tau2, s1 s2), a bracket {f, g} the negative of
both, since the antipodal map turns the sphere inside out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, cast

import torch
from e3nn import o3
from torch import Tensor

from geqlib.sphere.coefficients import Kind, path_exists

Paths = Literal["gaunt", "bracket", "all"]
KINDS: dict[str, tuple[Kind, ...]] = {
    "gaunt": ("gaunt",),
    "bracket": ("bracket",),
    "all": ("gaunt", "bracket"),
}


@dataclass(frozen=True)
class Signal:
    """A function on the sphere: type, sign under the antipode, degrees, places of the irreps."""

    tau: int
    sign: int
    degrees: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def index(self) -> Tensor:
        """l^2 + l + m of each coefficient."""
        return torch.cat([torch.arange(ell * ell, (ell + 1) ** 2) for ell in self.degrees])


@dataclass(frozen=True)
class Term:
    """One product or bracket of a first and a second signal."""

    first: int
    second: int
    kind: Kind


def read_irreps(name: str, irreps: str | o3.Irreps) -> o3.Irreps:
    """Parsed irreps in which each irrep stands once.

    Raises:
        ValueError: irreps that cannot be read, are empty, or name an irrep twice.
    """
    try:
        found = cast(o3.Irreps, o3.Irreps(irreps))
    except ValueError as error:
        message = f"{name}={irreps!r} cannot be read: write irreps as '8x0e+8x1o'."
        raise ValueError(message) from error
    kinds = [ir for mul, ir in found if mul]
    if not kinds:
        raise ValueError(f"{name}={irreps!r} holds no irreps: write for example '8x0e+8x1o'.")
    if len(set(kinds)) < len(found):
        raise ValueError(f"{name}={found} names an irrep twice or with multiplicity 0: merge them.")
    return found


def signals(irreps: o3.Irreps) -> tuple[Signal, ...]:
    """The functions that a tensor of these irreps consists of."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for place, (_, ir) in enumerate(irreps):
        sign = (-1) ** ir.l
        groups.setdefault((ir.p * sign, sign), []).append((ir.l, place))
    found = []
    for (tau, sign), pairs in sorted(groups.items(), reverse=True):
        degrees, places = zip(*sorted(pairs), strict=True)
        found.append(Signal(tau, sign, degrees, places))
    return tuple(found)


def terms(first: o3.Irreps, second: o3.Irreps, out: o3.Irreps, paths: Paths) -> list[list[Term]]:
    """For each signal of `out`, the products that it sums.

    Raises:
        ValueError: an irrep of `out` that no path reaches.
    """
    for _, ir in out:
        choices = product(KINDS[paths], first, second)
        if not any(connected(kind, a.ir, b.ir, ir) for kind, a, b in choices):
            raise ValueError(
                f"irreps_out has {ir}, which no path of paths={paths!r} reaches from {first} and "
                f"{second}: leave it out, or change its parity or `paths`."
            )
    return [_terms_of(z, signals(first), signals(second), paths) for z in signals(out)]


def connected(kind: Kind, a: o3.Irrep, b: o3.Irrep, out: o3.Irrep) -> bool:
    """Whether the path a x b -> out is one of this kind."""
    return out.p == a.p * b.p and path_exists(kind, a.l, b.l, out.l)


def _terms_of(
    z: Signal, first: tuple[Signal, ...], second: tuple[Signal, ...], paths: Paths
) -> list[Term]:
    found = []
    for kind, (i, a), (j, b) in product(KINDS[paths], enumerate(first), enumerate(second)):
        flip = 1 if kind == "gaunt" else -1
        fits = (a.tau * b.tau, a.sign * b.sign) == (flip * z.tau, flip * z.sign)
        if fits and _any_path(kind, a, b, z):
            found.append(Term(i, j, kind))
    return found


def _any_path(kind: Kind, a: Signal, b: Signal, z: Signal) -> bool:
    triples = ((l1, l2, l3) for l1 in a.degrees for l2 in b.degrees for l3 in z.degrees)
    return any(path_exists(kind, *triple) for triple in triples)
