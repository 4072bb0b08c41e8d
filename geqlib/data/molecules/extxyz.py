"""Structures from extended XYZ files: every frame read, checked and in eV and angstrom."""

from __future__ import annotations

import io
import lzma
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from ase import Atoms
from ase.io.extxyz import read_xyz
from ase.io.formats import open_with_compression
from rich.console import Console
from rich.progress import track

from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.sanity import check_structure, is_isolated

MAX_LINE = 2**24
MAX_ATOMS = 10**7


@dataclass(frozen=True)
class Frame:
    """One structure.

    Args:
        number: counted from 0 over all files that were read together.
        path, start, stop: its file, and its bytes there.
        z: [N] atomic numbers.
        pos: [N, 3] in angstrom.
        cell: [3, 3] vectors in rows, in angstrom; zeros without a cell.
        pbc: [3] whether it repeats along each of them.
        labels: as of `Labels.read`.
        isolated: whether it is an atom on its own.
    """

    number: int
    path: Path
    start: int
    stop: int
    z: np.ndarray
    pos: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    labels: dict[str, np.ndarray]
    isolated: bool


def read_frames(
    paths: Sequence[Path],
    labels: Labels,
    *,
    missing: Literal["error", "mask"] = "error",
    on_bad_frame: Literal["error", "skip"] = "error",
    alone: float | None = None,
    report: Callable[[str], object] = warnings.warn,
) -> Iterator[Frame]:
    """The frames of some files, one after the other; .gz, .bz2 and .xz files are unpacked.

    ASE parses each frame. It is not given the whole file, because it moves back and forth there,
    for which a compressed file is unpacked again each time.

    Args:
        paths: extended XYZ files.
        labels: which labels each frame must have.
        missing: what to do about a missing or NaN label: an error, or NaN. A label that no frame
            has is an error in any case.
        on_bad_frame: what to do about a frame that cannot be used: an error, or a report at the
            end that says how many were left out, and why the first.
        alone: distance in angstrom. A single atom without an image of itself within it, or with
            config_type=IsolatedAtom, needs no label but the energy; None if it needs all.
        report: told what was left out.

    Raises:
        ValueError: one sentence with file and frame, counted from 0 in the file.
    """
    bad: list[str] = []
    found = dict.fromkeys(labels.keys, False)
    count = 0
    for path in paths:
        in_file = -1
        for in_file, (start, text) in enumerate(_progress(_frame_texts(path), path)):
            try:
                frame = parse_frame(text, labels, count, path, start, missing=missing, alone=alone)
            except ValueError as error:
                bad.append(f"{path}, frame {in_file}: {error}")
                if on_bad_frame == "error":
                    raise ValueError(bad[0]) from error
            else:
                for name, value in frame.labels.items():
                    found[name] |= not np.isnan(value).all()
                yield frame
            count += 1
        if in_file < 0:
            raise ValueError(f"{path} is empty: expected extended XYZ.")
    if bad:
        advice = f"{len(bad)} of {count} frames are left out. The first was {bad[0]}"
        if len(bad) == count:
            raise ValueError(f"No frame can be used. The first was {bad[0]}")
        report(advice)
    for name in (name for name, seen in found.items() if not seen):
        raise ValueError(
            f"No frame of {', '.join(map(str, paths))} has the key {labels.keys[name]!r} for the "
            f"{name}: name the right one, or null to do without."
        )


def parse_frame(
    text: bytes,
    labels: Labels,
    number: int,
    path: Path,
    start: int,
    *,
    missing: Literal["error", "mask"] = "error",
    alone: float | None = None,
) -> Frame:
    """One frame from its bytes: see `read_frames`.

    Raises:
        ValueError: what is wrong with it, without the place.
    """
    atoms = _parse(text)
    z = atoms.numbers.astype(np.int64)
    pos, cell = atoms.positions * labels.length, atoms.cell.array * labels.length
    check_structure(z, pos, cell, atoms.pbc)
    isolated = alone is not None and is_isolated(atoms, cell, alone)
    if isolated:
        values = {**labels.read(atoms, missing="mask"), **labels.energy_only().read(atoms)}
    else:
        values = labels.read(atoms, missing=missing)
    stop = start + len(text)
    return Frame(number, path, start, stop, z, pos, cell, atoms.pbc.copy(), values, isolated)


def _frame_texts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each frame starts, and its bytes; the last one may be cut off."""
    try:
        with open_with_compression(str(path), "rb") as file:
            start, frame = 0, 0
            while header := _line(file, path, frame):
                if header.strip():
                    rest = range(1 + _atoms_in(header, path, frame))
                    lines = [header, *(_line(file, path, frame) for _ in rest)]
                    text = b"".join(lines)
                    yield start, text
                    start, frame = start + len(text), frame + 1
                else:
                    start += len(header)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error


def _line(file: IO[bytes], path: Path, frame: int) -> bytes:
    line = file.readline(MAX_LINE + 1)
    if len(line) > MAX_LINE:
        raise ValueError(
            f"{path}, frame {frame}: a line is longer than {MAX_LINE} bytes; is this an extended "
            "XYZ file?"
        )
    return line


def _atoms_in(header: bytes, path: Path, frame: int) -> int:
    try:
        atoms = int(header)
    except ValueError:
        atoms = -1
    if 0 <= atoms <= MAX_ATOMS:
        return atoms
    shown = header[:40].decode(errors="replace").strip()
    raise ValueError(
        f"{path}, frame {frame}: expected a number of atoms, found {shown!r}; is this an extended "
        "XYZ file, and is the number of atoms before right?"
    )


def _parse(text: bytes) -> Atoms:
    lines = text.count(b"\n") + (not text.endswith(b"\n")) - 2
    announced = int(text.split(b"\n", 1)[0])
    if lines < announced:
        raise ValueError(f"it is cut off after {max(lines, 0)} of {announced} atoms.")
    if announced == 0:
        raise ValueError("it has no atoms.")
    try:
        return next(read_xyz(io.StringIO(text.decode()), 0))
    except Exception as error:  # a stranger's text: whatever the parser stumbles on is a bad frame
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"ASE cannot read it ({type(error).__name__}: {reason}).") from error


def _progress(frames: Iterable[tuple[int, bytes]], path: Path) -> Iterable[tuple[int, bytes]]:
    console = Console(stderr=True)
    return track(frames, f"reading {path.name}", console=console, disable=not console.is_terminal)
