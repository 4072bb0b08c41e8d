"""The four algorithms for Gaunt products, as trilinear forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.columns import Columns
from geqlib.gaunt.form import Factor, Fields, FormTerm, TrilinearForm
from geqlib.gaunt.fourier import FourierFields
from geqlib.gaunt.grid import GridFields, SeparableFields
from geqlib.gaunt.layout import KINDS, Paths, Signal, Term, signals, terms
from geqlib.gaunt.sparse import SparseFields, entries

Method = Literal["sparse", "grid", "separable", "fft"]
Parts = tuple[tuple[Signal, ...], tuple[Signal, ...], tuple[Signal, ...]]


def product_form(irreps: Sequence[o3.Irreps], paths: Paths, method: Method) -> TrilinearForm:
    """The form whose derivative is the product, on torch's default device.

    Tables are made on the CPU, and stay there if the default device holds no values ("meta").

    Args:
        irreps: of both inputs and the output, all of one multiplicity.
        paths: "gaunt", "bracket" or "all".
        method: the algorithm.
    """
    device = torch.get_default_device()
    with torch.device("cpu"):
        form = _form(irreps, paths, method)
    return form if device.type == "meta" else form.to(device)


def _form(irreps: Sequence[o3.Irreps], paths: Paths, method: Method) -> TrilinearForm:
    first, second, out = irreps
    parts = signals(first), signals(second), signals(out)
    wanted = terms(first, second, out, paths)
    columns = [Columns(i, p) for i, p in zip(irreps, parts, strict=True)]
    if method == "sparse":
        maps, form_terms = _sparse(parts, wanted)
    else:
        maps, form_terms = _pointwise(parts, paths, method), _products(wanted, paths)
    return TrilinearForm(columns, maps, form_terms)


def _pointwise(parts: Parts, paths: Paths, method: Method) -> list[list[Fields]]:
    kinds, only = KINDS[paths], {"value": True, "slopes": False}
    fields = {"value": "gaunt" in kinds, "slopes": "bracket" in kinds}
    l1, l2, l3 = (max(signal.degrees[-1] for signal in part) for part in parts)
    build: Any = {"grid": GridFields, "separable": SeparableFields, "fft": FourierFields}[method]
    there: dict[str, Any] = {"degree": l1 + l2 + l3, "weighted": False}
    back: dict[str, Any] = there | {"weighted": True}
    if method == "fft":
        bandwidth = l1 + l2
        # frequencies that fold onto those above the output's do no harm
        azimuths = max(bandwidth + min(l3, bandwidth), 2 * max(l1, l2)) + 1
        there = {"size": (2 * bandwidth + 1, azimuths)}
        back = there | {"bandwidth": bandwidth}
    first, second, out = parts
    return [
        [build(signal, **there, **fields) for signal in first],
        [build(signal, **there, **fields) for signal in second],
        [build(signal, **back, **only) for signal in out],
    ]


def _products(wanted: Sequence[Sequence[Term]], paths: Paths) -> list[FormTerm]:
    """f g h, and df/dt (dg/dp / sin t) h - (df/dp / sin t) dg/dt h, of every term."""
    found = []
    slope = int(paths != "bracket")  # the values come first where there are any
    pairs = {"gaunt": [(0, 0, 1)], "bracket": [(slope, slope + 1, 1), (slope + 1, slope, -1)]}
    for k, group in enumerate(wanted):
        for t in group:
            found += [
                FormTerm((Factor(t.first, a), Factor(t.second, b), Factor(k, 0)), sign)
                for a, b, sign in pairs[t.kind]
            ]
    return found


def _sparse(
    parts: Parts, wanted: Sequence[Sequence[Term]]
) -> tuple[list[list[Fields]], list[FormTerm]]:
    places: list[list[list[Tensor]]] = [[[] for _ in part] for part in parts]
    values: list[list[Tensor]] = [[] for _ in parts[2]]
    found = []
    for k, group in enumerate(wanted):
        for t in group:
            at = (t.first, t.second, k)
            index, value = entries(t, *(part[n] for part, n in zip(parts, at, strict=True)))
            values[k].append(value)
            for role, place in enumerate(index):
                places[role][at[role]].append(place)
            a, b, c = (Factor(n, len(places[role][n]) - 1) for role, n in enumerate(at))
            found.append(FormTerm((a, b, c), 1))
    maps: list[list[Fields]] = [
        [
            SparseFields(p, v, len(signal.index))
            for p, v, signal in zip(places[role], weights, parts[role], strict=True)
        ]
        for role, weights in enumerate([[()] * len(parts[0]), [()] * len(parts[1]), values])
    ]
    return maps, found
