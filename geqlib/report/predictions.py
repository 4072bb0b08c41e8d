"""Predictions of a run on its test set, read from its folder and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from geqlib.files.atomic import reading

Arrays = Mapping[str, np.ndarray]
Kind = Literal["positions", "energies", "classes", "answers", "numbers"]
MAX_BYTES = 200e6  # of structures that are read: ASE takes about a millisecond each
AGAIN = "predict again"


@dataclass(frozen=True)
class Predictions:
    """Predicted and true values of a test set.

    Args:
        kind: "positions" of moving points, "energies" of structures, "classes" of graphs or nodes,
            "answers" to yes-or-no questions, or "numbers".
        arrays: by name. Of positions `pos`, `true`, `predicted` [N, d], `batch` [N] and `path`
            [N, F, d]; of energies `energy` [G], `batch` [N] and, where there are any, `index` [G],
            `forces` [N, 3] and `stress` [G, 3, 3], with `_true` behind the name of labels, and
            standard deviations `energy_std` [G] and `forces_std` [N] of calibrated potentials; of
            classes `logits` [G, C] and `true` [G]; of answers `predicted` [G, T] logits and `true`
            [G, T] of 0, 1 and NaN; of numbers the same, or any `NAME` with `NAME_true`.
        names: of the graphs, where the data has any.
        targets: names of the columns of answers and numbers.
        classes: names of the classes.
        units: of targets by name, where the data says them.
    """

    kind: Kind
    arrays: Arrays
    names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)


def read_predictions(folder: Path) -> Predictions | None:
    """The predictions of a run.

    Returns:
        `None` when the run has no predictions, or none of a kind that a report shows.

    Raises:
        ValueError: when the file is damaged, or its arrays do not belong together.
    """
    path = folder / "predictions.safetensors"
    if not path.exists():
        return None
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
            about = {name: _names(text) for name, text in header.items()}
            units = _units(header.get("units", "{}"))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The file {path} is damaged ({error}): test the run again, or delete the file to do "
            "without the picture."
        ) from error
    kind = _kind(arrays, path)
    if kind is None:
        return None
    if kind == "answers" and "logits" in arrays:  # of links, which are one question
        arrays = {"predicted": arrays["logits"][:, None], "true": arrays["true"][:, None]}
    names = about.get("names", ())
    # graphs have names, nodes have none
    names = names if len(names) == len(arrays.get("true", ())) else ()
    targets, classes = about.get("targets", ()), about.get("classes", ())
    return Predictions(kind, arrays, names, targets, classes, units)


def joined(parts: Mapping[str, Predictions | None]) -> Predictions | None:
    """The classes, answers or numbers of several test sets as one.

    Args:
        parts: by the names of their runs. Examples that have neither a name nor a number in the
            data are counted in each: "3 of fold0-seed0".

    Returns:
        `None` if they are of different targets or classes, of another kind, or one is missing.
    """
    first = next(iter(parts.values()), None)
    if first is None or first.kind not in ("classes", "answers", "numbers"):
        return None
    named = {name: part for name, part in parts.items() if part is not None}
    alike = all(_form(part) == _form(first) for part in named.values())
    if len(named) < len(parts) or not alike:
        return None
    arrays = {key: np.concatenate([p.arrays[key] for p in named.values()]) for key in first.arrays}
    names = first.names
    if ("true" in arrays and "index" not in arrays) or names:
        names = tuple(name for run, part in named.items() for name in _examples(part, run))
    return replace(first, arrays=arrays, names=names)


def _form(part: Predictions) -> tuple[Any, ...]:
    widths = {key: value.shape[1:] for key, value in part.arrays.items()}
    return part.kind, part.targets, part.classes, part.units, widths


def _examples(part: Predictions, run: str) -> Sequence[str]:
    return part.names or [f"{k} of {run}" for k in range(len(part.arrays["true"]))]


def read_structures(folder: Path, predictions: Predictions) -> list[Any] | None:
    """The structures whose energies were predicted, as ASE's `Atoms`.

    Returns:
        `None` where the run has none, or more than a report reads.

    Raises:
        ValueError: when the file is damaged, or has other structures than were predicted.
    """
    path = folder / "predictions.xyz"
    if not path.exists() or path.stat().st_size > MAX_BYTES:
        return None
    from ase.io import read

    with reading(path, "is no extended XYZ file", AGAIN):
        structures: Any = read(path, ":", format="extxyz")
    sizes = np.bincount(predictions.arrays["batch"], minlength=len(predictions.arrays["energy"]))
    finite = all(np.isfinite(atoms.positions).all() for atoms in structures)
    if not finite or [len(atoms) for atoms in structures] != sizes.tolist():
        raise ValueError(f"The file {path} has other structures than were predicted: {AGAIN}.")
    return structures


def _names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _units(text: str) -> dict[str, str]:
    units = json.loads(text)
    return {k: str(v) for k, v in units.items()} if isinstance(units, dict) else {}


def _kind(arrays: Arrays, path: Path) -> Kind | None:
    if "path" in arrays:
        _check_points(arrays, path)
        return "positions"
    if {"energy", "batch"} <= arrays.keys():
        _check_structures(arrays, path)
        return "energies"
    if {"logits", "true"} <= arrays.keys():
        return _kind_of_logits(arrays, path)
    pairs = pairs_of(arrays)
    wrong = [name for name, (a, b) in pairs.items() if a.shape != b.shape]
    if wrong:
        raise ValueError(_apart(arrays, path, f"{wrong[0]} must have the shape of its labels"))
    if not pairs:
        return None
    true = arrays.get("true")
    asked = true is not None and np.isin(true[~np.isnan(true)], (0, 1)).all()
    return "answers" if asked else "numbers"


def _kind_of_logits(arrays: Arrays, path: Path) -> Kind:
    logits, true = arrays["logits"], arrays["true"]
    if len(logits) != len(true) or logits.ndim > 2:
        raise ValueError(_apart(arrays, path, "logits must be [G, C] and true [G]"))
    if logits.ndim == 2 and not ((true >= -1) & (true < logits.shape[1])).all():
        raise ValueError(f"{path} has true classes beyond its {logits.shape[1]} logits: {AGAIN}.")
    return "classes" if logits.ndim == 2 else "answers"


def pairs_of(arrays: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Predicted and true values by the name of what was predicted."""
    pairs = {
        name: (value, arrays[f"{name}_true"])
        for name, value in arrays.items()
        if f"{name}_true" in arrays
    }
    if {"predicted", "true"} <= arrays.keys():
        pairs["predicted"] = (arrays["predicted"], arrays["true"])
    return pairs


def _check_structures(arrays: Arrays, path: Path) -> None:
    graphs, atoms = arrays["energy"].shape, (*arrays["batch"].shape, 3)
    shapes = {"energy_true": graphs, "forces": atoms, "forces_true": atoms}
    shapes |= {"energy_std": graphs, "forces_std": arrays["batch"].shape}
    count = int(arrays["batch"].max(initial=-1)) + 1
    wrong = [key for key, shape in shapes.items() if key in arrays and arrays[key].shape != shape]
    if wrong or graphs != (count,):
        expected = "energies must be [G], batch [N] and forces [N, 3]"
        raise ValueError(_apart(arrays, path, expected))


def _check_points(arrays: Arrays, path: Path) -> None:
    missing = {"pos", "true", "predicted", "batch"} - arrays.keys()
    if missing:
        raise ValueError(f"The file {path} lacks {', '.join(sorted(missing))}: test the run again.")
    n, *rest = arrays["path"].shape
    shape = (n, rest[-1] if rest else 0)
    fits = all(arrays[key].shape == shape for key in ("pos", "true", "predicted"))
    if len(rest) != 2 or not fits or arrays["batch"].shape != (n,):
        expected = "path must be [N, F, d], batch [N] and the others [N, d]"
        raise ValueError(_apart(arrays, path, expected))


def _apart(arrays: Arrays, path: Path, expected: str) -> str:
    shapes: Sequence[str] = [f"{key} {list(x.shape)}" for key, x in sorted(arrays.items())]
    return (
        f"The arrays in {path} do not belong together ({', '.join(shapes)}): {expected}; {AGAIN}."
    )
