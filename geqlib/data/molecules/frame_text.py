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
from ase.io.extxyz import REV_PROPERTY_NAME_MAP, key_val_str_to_dict, read_xyz

from geqlib.counted import counted

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
COLUMN = re.compile(r"([^:]+):([RISL]):([1-9]\d*)(?::|$)")
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
        lines = whole.split("\n")
        values = _comment_values(lines[1].strip())
        columns_of = _columns(values)
        _check_columns(lines, columns_of)
        try:
            atoms = _read(whole, values)
        except (KeyError, AttributeError):  # of an element, which may be an isotope or a number
            atoms = _read(*_with_symbols(lines, values, columns_of))
        _check_species(lines, columns_of, atoms)
    except _FormatError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever the parser stumbles on is a bad frame
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"ASE cannot read it ({type(error).__name__}: {reason}).") from error
    _restore_names(atoms)
    _check_cell_keys(atoms)
    return atoms


def comment_info(line: bytes) -> dict[str, Any]:
    """What a comment line says of its structure, beside cell, columns and boundary; nothing of one
    that cannot be read.

    Example:
        >>> comment_info(b'config_type=bulk source="my lab" Properties=species:S:1:pos:R:3')
        {'config_type': 'bulk', 'source': 'my lab'}
    """
    try:
        values = _comment_values(line.decode().strip())
    except Exception:  # whatever the parser stumbles on, as in `parse_text`
        return {}
    named = {key.removeprefix(HIDDEN): value for key, value in values.items()}
    return {key: value for key, value in named.items() if key not in FORMAT.values()}


class _FormatError(Exception):
    """A sentence of this module, which passes through ASE's parser."""


def _read(text: str, values: dict[str, Any]) -> Atoms:
    return next(read_xyz(io.StringIO(text), 0, properties_parser=lambda _: dict(values)))


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


def _columns(values: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Where the columns of each property start that a comment announces, and how many they are."""
    announced = str(values.get("Properties", DEFAULT))
    parts = COLUMN.findall(announced)
    if "".join(f"{':'.join(part)}:" for part in parts) != f"{announced}:":
        raise _FormatError(
            f"its Properties are {_shown(values)}: write NAME:TYPE:COLUMNS for each, such as "
            f"{DEFAULT}:forces:R:3, with the types R, I, S and L."
        )
    names = [name for name, _, _ in parts]
    targets = [_target(name) for name in names]
    for target in targets:
        if targets.count(target) > 1:
            same = ", ".join(name for name in names if _target(name) == target)
            raise _FormatError(f"its Properties give {target} more than once ({same}): keep one.")
    for name, others in (("pos", {"positions"}), ("species", {"symbols", "numbers"})):
        if others.isdisjoint(targets):
            raise _FormatError(f"its Properties {_shown(values)} have no {name}: name that column.")
    widths = [int(width) for _, _, width in parts]
    return {name: (sum(widths[:k]), widths[k]) for k, name in enumerate(names)}


def _target(name: str) -> str:
    """Under which name ASE keeps a column."""
    return REV_PROPERTY_NAME_MAP.get(name, name)


def _shown(values: dict[str, Any]) -> str:
    return repr(str(values.get("Properties", DEFAULT)).replace(COLONS, "::"))


def _check_columns(lines: list[str], columns_of: dict[str, tuple[int, int]]) -> None:
    """Refuse rows that hold other columns than their frame announces.

    ASE reads the columns that it needs and ignores the others without a word.
    """
    expected = sum(width for _, width in columns_of.values())
    rows = lines[2:] if lines[-1] else lines[2:-1]
    counts = [len(row.split()) for row in rows]
    if counts.count(expected) == len(counts):
        return
    for number, count in enumerate(counts, 3):
        if count != expected:
            advice = (
                "describe every column there, or take out what is none."
                if count > expected
                else "complete the line; or is the number of atoms wrong?"
            )
            raise _FormatError(
                f"line {number} of the frame has {counted(count, 'column')}, but its Properties "
                f"({', '.join(columns_of)}) are {expected}: {advice}"
            )


def _check_species(lines: list[str], columns_of: dict[str, tuple[int, int]], atoms: Atoms) -> None:
    """Refuse symbols that contradict atomic numbers beside them."""
    columns = {_target(name): start for name, (start, _) in columns_of.items()}
    if not {"symbols", "numbers"} <= columns.keys():
        return
    for number, (row, own) in enumerate(zip(lines[2:], atoms.symbols, strict=False), 3):
        symbol = row.split()[columns["symbols"]]
        if ISOTOPES.get(symbol.upper(), symbol).capitalize() != own:
            raise _FormatError(
                f"line {number} of the frame has the species {symbol} and the atomic number of "
                f"{own}: correct one of them, or leave it out."
            )


def _with_symbols(
    lines: list[str], values: dict[str, Any], columns_of: dict[str, tuple[int, int]]
) -> tuple[str, dict[str, Any]]:
    """Text and values with chemical symbols in place of isotopes and atomic numbers."""
    if "species" not in columns_of:
        return "\n".join(lines), values
    column = columns_of["species"][0]
    announced = re.sub(r"\bspecies:I:1\b", "species:S:1", str(values.get("Properties", DEFAULT)))
    rows = [_row_with_symbol(row, column) for row in lines[2:]]
    return "\n".join([*lines[:2], *rows]), values | {"Properties": announced}


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
