"""A configuration for a potential: labels in a file of structures, cutoff and batch size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from geqlib.data.download import find_files
from geqlib.data.molecules.extxyz import atoms_of
from geqlib.proposals.proposal import Line, Proposal, run_name

SAMPLED = 20  # structures whose neighbours are counted
ATOMS = 100  # in a batch, and structures at most: small batches learn faster
MOST = 8
CUTOFFS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
NEIGHBORS = 30  # of an atom, on average
SPARSE = 5.0  # angstrom, where there are fewer at any distance
# from the surest name to the least sure one
NAMES = {
    "energy": ("energy", "REF_energy", "dft_energy", "total_energy", "TotEnergy", "E"),
    "forces": ("forces", "REF_forces", "dft_forces", "force", "F"),
    "stress": ("stress", "REF_stress", "dft_stress"),
    "virial": ("virial", "REF_virial", "dft_virial", "virials"),
    "charge": ("charge", "total_charge"),
    "multiplicity": ("multiplicity", "spin_multiplicity"),
}
INITIALS = {"energy": "e", "forces": "f"}  # words of keys such as E_dft and F_dft
NOT_TOTAL = ("free", "per_atom", "peratom", "kinetic", "ionic", "correction")
NO_ENERGY = ("gap", "fermi", "hull", "formation", "vacuum")


def look(file: str, named: Mapping[str, str] | None = None) -> Proposal:
    """Propose a potential for a file of structures with energies, forces, or both.

    Args:
        file: of the structures.
        named: the keys of labels, where they are not guessed.

    Raises:
        ValueError: if there are neither, or a label or key that is named is not there.
    """
    (path,) = find_files(file)
    frames = list(atoms_of(path))
    alone = [atoms for atoms in frames if _is_alone(atoms)]
    bulk = [atoms for atoms in frames if not _is_alone(atoms)]
    if len(bulk) < 3:
        raise ValueError(
            f"{file} has {len(bulk)} structures of more than one atom: a potential needs some to "
            "train on and some to be measured on."
        )
    named = _checked(named or {}, bulk, file)
    keys = {name: named.get(name) or _key(name, bulk) for name in NAMES}
    if keys["energy"] is None and keys["forces"] is None:
        raise ValueError(
            f"{file} has no key that names an energy or forces, only {', '.join(_keys(bulk))}: "
            "say which they are, such as --keys energy=U0 forces=grad."
        )
    if keys["stress"] is not None:
        keys["virial"] = None
    elements = list(dict.fromkeys(s for a in frames for s in a.get_chemical_symbols()))
    size = float(np.mean([len(atoms) for atoms in bulk]))
    cutoff, neighbors = choose_cutoff(bulk)
    batch = int(np.clip(round(ATOMS / size), 1, min(MOST, max(len(bulk) // 20, 1))))
    isolated = _references(alone, elements, keys["energy"])
    missing = [n for n, k in keys.items() if k and not all(_value(a, k) is not None for a in bulk)]
    periodic = sum(bool(atoms.pbc.any()) for atoms in bulk)
    settings = {
        "file": file,
        "elements": elements,
        "cutoff": cutoff,
        "neighbors": round(neighbors, 1),
        "batch": batch,
        "labels": Line(_label_lines(keys, missing, isolated)),
        "weights": Line(_weights(keys)),
        "references": "isolated" if isolated else "least_squares",
        "monitor": "val/forces_rmse" if keys["forces"] else "val/energy_per_atom_rmse",
    }
    reasons = (
        f"{len(bulk)} structures of {size:.3g} atoms on average, {periodic} periodic; "
        f"elements {', '.join(elements)}",
        _reason_for_keys(keys),
        _reason_for_references(alone, isolated),
        f"some structures lack the {' and the '.join(missing)}: they are left out of the loss "
        "(missing: mask)"
        if missing
        else "",
        f"cutoff {cutoff} angstrom: an atom has {neighbors:.0f} neighbours within it"
        + ("" if neighbors >= NEIGHBORS else ", few at any distance"),
        f"batch_size {batch}: about {batch * size:.0f} atoms a step",
        "a tenth of the structures, drawn at random, for validation (val), another for testing "
        "(test): where neighbours in a trajectory are alike, name files of their own",
    )
    return Proposal("potential", run_name(file), settings, tuple(filter(None, reasons)))


def choose_cutoff(frames: Sequence[Atoms]) -> tuple[float, float]:
    """The least cutoff with enough neighbours, and their mean number.

    Example:
        >>> from ase.build import bulk
        >>> choose_cutoff([bulk("Cu")])
        (4.5, 42.0)
    """
    picked = [frames[k] for k in np.linspace(0, len(frames) - 1, SAMPLED).astype(int)]
    distances = [neighbor_list("d", atoms, max(CUTOFFS)) for atoms in picked]
    atoms = sum(map(len, picked))
    means = {c: sum(int((d < c).sum()) for d in distances) / atoms for c in CUTOFFS}
    cutoff = next((c for c, mean in means.items() if mean >= NEIGHBORS), SPARSE)
    return cutoff, means[cutoff]


def _is_alone(atoms: Atoms) -> bool:
    return len(atoms) == 1 and (
        not atoms.pbc.any() or atoms.info.get("config_type") == "IsolatedAtom"
    )


def _references(alone: Sequence[Atoms], elements: Sequence[str], key: str | None) -> bool:
    """Whether every element has an isolated atom with an energy."""
    if key is None:
        return False
    named = {a.get_chemical_symbols()[0] for a in alone if _value(a, key) is not None}
    return bool(named) and named == set(elements)


def _reason_for_references(alone: Sequence[Atoms], isolated: bool) -> str:
    if isolated:
        return f"{len(alone)} isolated atoms: their energies are the references of the elements"
    return "energies of single atoms are fitted to those of the structures (least_squares)"


def _key(name: str, frames: Sequence[Atoms]) -> str | None:
    """The key of a label among those that occur."""
    occurring = _keys(frames)
    usual = [key for key in NAMES[name] if key in occurring]
    like = [
        key
        for key in occurring
        if name.removesuffix("s") in key.lower() and not any(w in key.lower() for w in NOT_TOTAL)
    ]
    initial = INITIALS.get(name)
    short = [
        key
        for key in occurring
        if initial in re.split(r"[^a-z]+", key.lower())
        and not any(w in key.lower() for w in (*NOT_TOTAL, *NO_ENERGY))
    ]
    fitting = [key for key in [*usual, *like, *short] if _fits(name, key, frames)]
    if name in ("charge", "multiplicity"):  # inputs, which all need and which have to differ
        values = [{float(v) for a in frames if (v := _value(a, k)) is not None} for k in fitting]
        whole = (all(_value(a, k) is not None for a in frames) for k in fitting)
        fitting = [k for k, v, w in zip(fitting, values, whole, strict=True) if w and len(v) > 1]
    return next(iter(fitting), None)


def _checked(named: Mapping[str, str], frames: Sequence[Atoms], file: str) -> Mapping[str, str]:
    """Keys that the user names, if they are labels of the file."""
    for name, key in named.items():
        if name not in NAMES:
            raise ValueError(f"--keys names {name!r}: choose from {', '.join(NAMES)}.")
        if key not in _keys(frames):
            raise ValueError(f"{file} has no key {key!r}, only {', '.join(_keys(frames))}.")
        if not _fits(name, key, frames):
            raise ValueError(f"The values of {key!r} in {file} have not the shape of {name}.")
    return named


def _fits(name: str, key: str, frames: Sequence[Atoms]) -> bool:
    """Whether all values of a key have the shape of a label."""
    for atoms in frames:
        value = _value(atoms, key)
        if value is None:
            continue
        array = np.asarray(value)
        shapes: tuple[Any, ...] = ((),)
        if name == "forces":
            shapes = ((len(atoms), 3),)
        elif name in ("stress", "virial"):
            shapes = ((6,), (9,), (3, 3))
        if array.dtype.kind not in "iuf" or array.shape not in shapes:
            return False
    return True


def _keys(frames: Sequence[Atoms]) -> list[str]:
    """All keys, the most frequent first."""
    counted = Counter(key for atoms in frames for key in _values(atoms))
    return [key for key, _ in counted.most_common() if key not in ("numbers", "positions")]


def _values(atoms: Atoms) -> dict[str, Any]:
    results = atoms.calc.results if atoms.calc is not None else {}
    return {**atoms.arrays, **atoms.info, **results}


def _value(atoms: Atoms, key: str) -> Any:
    return _values(atoms).get(key)


def _label_lines(keys: dict[str, str | None], missing: Sequence[str], isolated: bool) -> str:
    defaults = {"energy": "energy", "forces": "forces"}
    lines = [
        f"{name}_key: {key if key is not None else 'null'}"
        for name, key in keys.items()
        if key is not None or name in defaults
    ]
    lines += ["missing: mask"] if missing else []
    lines += ["isolated_atoms: references"] if isolated else []
    return "\n    ".join(lines)


def _weights(keys: dict[str, str | None]) -> str:
    """Weights of the labels that there are; without one of them, 0."""
    weights = {
        "energy_weight": 10.0 if keys["energy"] else 0.0,
        "forces_weight": 100.0 if keys["forces"] else 0.0,
        "stress_weight": 1000.0 if keys["stress"] or keys["virial"] else 0.0,
    }
    lines = [f"{name}: {weight}" for name, weight in weights.items()]
    return "\n    ".join(lines[:2] if not weights["stress_weight"] else lines)


def _reason_for_keys(keys: dict[str, str | None]) -> str:
    read = [f"{name} from the key {key!r}" for name, key in keys.items() if key]
    absent = [name for name in ("energy", "forces") if keys[name] is None]
    none = f"; no {' and no '.join(absent)}" if absent else ""
    return f"{', '.join(read)}{none}; units are taken to be eV and angstrom (energy_unit)"


EXAMPLE = Proposal(
    "potential",
    "my_potential",
    {
        "file": "structures.xyz",
        "elements": ["H", "C", "N", "O"],
        "cutoff": SPARSE,
        "neighbors": 16.0,
        "batch": 5,
        "labels": Line("energy_key: energy\n    forces_key: forces"),
        "weights": Line("energy_weight: 10.0\n    forces_weight: 100.0"),
        "references": "least_squares",
        "monitor": "val/forces_rmse",
    },
    (
        "data: train, the elements, and the keys of the labels are examples: put in yours",
        "or name the file, and this command looks at it: geqlib new potential FILE",
    ),
)
