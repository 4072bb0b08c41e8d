"""Settings and inputs behind a file of results, which is only continued with the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from geqlib.files.atomic import replace_file

ELECTRONS = ("charge", "multiplicity", "spin")


def check_record(path: Path, own: Mapping[str, Any]) -> None:
    """Record what a new file is made with, or refuse to continue one made with something else.

    The record lies beside the file, under its name with .json appended.

    Args:
        path: of the file of results.
        own: names of settings, digests and other plain values.

    Raises:
        ValueError: naming what differs, or where the file has no record.
    """
    record = path.with_name(f"{path.name}.json")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(record, lambda part: part.write_text(json.dumps(dict(own), indent=1) + "\n"))
        return
    if not record.exists():
        raise ValueError(
            f"{path} exists, and has no record {record.name} of what it was made with, so that it "
            "cannot be continued: name another file."
        )
    before = json.loads(record.read_text())
    changed = [
        f"{key} was {before.get(key)} and is {own.get(key)}"
        for key in {**before, **own}
        if before.get(key) != own.get(key)
    ]
    if changed:
        raise ValueError(
            f"{path} was made with something else ({', '.join(changed)}): repeat that, or name "
            "another file."
        )


def structure_digest(structures: Iterable[Atoms]) -> str:
    """Of elements, positions, cells, velocities, charges and constraints."""
    sha = hashlib.sha256()
    for atoms in structures:
        arrays = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_momenta()
        for array in arrays:
            sha.update(np.ascontiguousarray(array).tobytes())
        info = {key: str(atoms.info[key]) for key in ELECTRONS if key in atoms.info}
        fixed = [constraint.todict() for constraint in atoms.constraints]
        sha.update(json.dumps([info, fixed], sort_keys=True, default=str).encode())
    return sha.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Of the content of a file, such as a checkpoint."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
