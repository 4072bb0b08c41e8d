"""One frame of extended XYZ from its text: what people write and ASE's parser does not take.

Keys of the format may be in any case (GPUMD writes `lattice=`), `stress` and `virial` may be six
numbers, species may be isotopes or atomic numbers, and names of columns may have double colons
(metatrain's). Everything else is ASE's.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_str_to_dict, read_xyz

# values in quotes, which may hold anything; or words, which are keys before "="
WORDS = re.compile(r""""[^"]*+"|'[^']*+'|([^\s="']++)(\s*+=)?""")
FORMAT = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
TENSORS = ("stress", "virial")  # of which ASE takes nine numbers alone
HIDDEN = "geqlib_"  # before their names, while ASE reads
COLONS = "geqlib__"  # in place of two of them
# how other programs name cells, without _
CELLS = ("cell", "cellvectors", "box", "unitcell", "latticevectors", "latticeparameters", "abc")
ISOTOPES = {"D": "H", "T": "H"}
DEFAULT = "species:S:1:pos:R:3"
COMMENT_CELL = re.compile(r"#\s*CELL\s*[({]", re.IGNORECASE)


def parse_text(text: bytes) -> Atoms:
    """The structure of a frame: its number of atoms, its comment, and a line for each atom.

    Isotopes of hydrogen become H: they have its energies.

    Raises:
        ValueError: what is wrong with it.
    """
    lines = text.count(b"\n") + (not text.endswith(b"\n")) - 2
    announced = int(text.split(b"\n", 1)[0])
    if lines < announced:
        raise ValueError(f"it is cut off after {max(lines, 0)} of {announced} atoms.")
    if announced == 0:
        raise ValueError("it has no atoms.")
    try:
        whole = text.decode()
        try:
            atoms = _read(whole)
        except (KeyError, AttributeError):  # of an element, which may be an isotope or a number
            atoms = _read(_with_symbols(whole))
    except _FormatError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever the parser stumbles on is a bad frame
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"ASE cannot read it ({type(error).__name__}: {reason}).") from error
    _restore_names(atoms)
    _check_cell_keys(atoms)
    return atoms


class _FormatError(Exception):
    """A sentence of this module, which passes through ASE's parser."""


def _read(text: str) -> Atoms:
    return next(read_xyz(io.StringIO(text), 0, properties_parser=_comment_values))


def _comment_values(line: str) -> dict[str, Any]:
    """The values of a comment line by key, under the names by which ASE knows them."""
    if COMMENT_CELL.search(line):
        raise _FormatError(
            "its comment has a cell in the style of i-PI (# CELL...), which extended XYZ does not "
            'know: write it as Lattice="ax ay az bx by bz cx cy cz".'
        )
    seen: list[str] = []

    def renamed(match: re.Match[str]) -> str:
        key, equals = match[1], match[2]
        if not (key and equals):
            return match[0]
        seen.append(name := FORMAT.get(key.lower(), key))
        return (HIDDEN + name if name in TENSORS else name) + equals

    values = key_val_str_to_dict(WORDS.sub(renamed, line))
    for name in dict.fromkeys(seen):
        if seen.count(name) > 1:
            raise _FormatError(f"it has {name!r} {seen.count(name)} times: keep one.")
    if isinstance(values.get("Properties"), str):
        values["Properties"] = values["Properties"].replace("::", COLONS)
    return values


def _with_symbols(text: str) -> str:
    """The text with chemical symbols in place of isotopes and atomic numbers."""
    header, comment, *rest = text.split("\n")
    properties = str(_comment_values(comment).get("Properties", DEFAULT)).split(":")
    names, widths = properties[::3], [int(width) for width in properties[2::3]]
    if "species" not in names:
        return text
    column = sum(widths[: names.index("species")])
    rows = [_row_with_symbol(row, column) for row in rest]
    comment = re.sub(r"\bspecies:I:1\b", "species:S:1", comment)
    return "\n".join([header, comment, *rows])


def _row_with_symbol(row: str, column: int) -> str:
    values = row.split()
    if column >= len(values):
        return row
    species = values[column]
    if species.isdecimal() and 1 <= int(species) < len(chemical_symbols):
        species = chemical_symbols[int(species)]
    return " ".join(
        [*values[:column], ISOTOPES.get(species.upper(), species), *values[column + 1 :]]
    )


def _restore_names(atoms: Atoms) -> None:
    for name in TENSORS:
        if HIDDEN + name in atoms.info:
            atoms.info[name] = atoms.info.pop(HIDDEN + name)
    for name in [name for name in atoms.arrays if COLONS in name]:
        atoms.arrays[name.replace(COLONS, "::")] = atoms.arrays.pop(name)


def _check_cell_keys(atoms: Atoms) -> None:
    """Refuse a cell under a key that nobody reads: the crystal would become a molecule."""
    if atoms.cell.array.any():
        return
    for key, value in atoms.info.items():
        numbers = np.asarray(value)
        if (
            key.lower().replace("_", "") in CELLS
            and numbers.dtype.kind in "iuf"
            and numbers.size in (3, 6, 9)
        ):
            raise ValueError(
                f"it has numbers under the key {key!r}, but no Lattice: name the cell "
                'Lattice="ax ay az bx by bz cx cy cz", or leave that key out if it is none.'
            )
