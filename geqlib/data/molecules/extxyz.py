"""Extended XYZ: every frame read, checked and converted to eV and angstrom.

A file becomes `Frame`s, these `PackedGraphs`, and a batch is indexed out of them. Files larger than
memory stay on the disk: see `geqlib.data.molecules.streamed`.
"""

from __future__ import annotations

import lzma
import warnings
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from ase import Atoms
from ase.io.formats import open_with_compression
from rich.console import Console
from rich.progress import track

from geqlib.data.molecules.ase_files import ase_structures, needs_ase
from geqlib.data.molecules.frame_text import parse_text
from geqlib.data.molecules.labels import INPUTS, Labels
from geqlib.data.molecules.structures import (
    PER_ATOM,
    check_structure,
    far_origins,
    is_isolated,
    structure_fields,
)
from geqlib.data.packed import PackedGraphs

Missing = Literal["error", "mask", "allow"]
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
        unused_stress: whether its stress was left out, as it has no volume.
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
    unused_stress: bool = False


def read_frames(
    paths: Sequence[Path],
    labels: Labels,
    *,
    missing: Missing = "error",
    on_bad_frame: Literal["error", "skip"] = "error",
    alone: float | None = None,
    report: Callable[[str], object] = warnings.warn,
) -> Iterator[Frame]:
    """The frames of some files, one after the other; .gz, .bz2 and .xz files are unpacked.

    ASE parses each frame by itself: in a whole file it would seek back and forth, for which a
    compressed file is unpacked again each time.

    Args:
        paths: extended XYZ files, or those of `geqlib.data.molecules.ase_files`.
        labels: which labels each frame must have.
        missing: a missing or NaN label is an error, or NaN ("mask"). A label that no frame has is
            an error, too, unless none is needed ("allow").
        on_bad_frame: a frame that cannot be used is an error, or left out ("skip") and reported at
            the end: how many, and the reason of the first.
        alone: distance in angstrom. A single atom without an image of itself within it, or with
            config_type=IsolatedAtom, needs no label but the energy; None if it needs all.
        report: called with a sentence about what was left out.

    Raises:
        ValueError: one sentence with file and frame, counted from 0 in the file.
    """
    bad: list[str] = []
    no_volume: list[str] = []
    present = dict.fromkeys(labels.keys, False)
    count = 0
    for path in paths:
        in_file = -1
        for in_file, read in enumerate(_progress(_readers(path), path)):
            try:
                frame = read(labels, count, missing=missing, alone=alone)
            except ValueError as error:
                bad.append(f"{path}, frame {in_file}: {error}")
                if on_bad_frame == "error":
                    raise ValueError(bad[0]) from error
            else:
                for name, value in frame.labels.items():
                    present[name] |= not np.isnan(value).all()
                if frame.unused_stress and not frame.isolated:
                    no_volume.append(f"{path}, frame {in_file}")
                yield frame
            count += 1
        if in_file < 0:
            raise ValueError(f"{path} is empty: expected structures.")
    if bad:
        advice = f"{len(bad)} of {count} frames are left out. The first was {bad[0]}"
        if len(bad) == count:
            raise ValueError(f"No frame can be used. The first was {bad[0]}")
        report(advice)
    if no_volume:
        report(
            f"The stress of {len(no_volume)} of {count} frames is left out, as they do not repeat "
            f"or have no volume. The first is {no_volume[0]}."
        )
    for name in (name for name, seen in present.items() if not seen and missing != "allow"):
        raise ValueError(_absent(name, labels, paths))


def read_atoms(path: Path) -> list[Atoms]:
    """The structures of an extended XYZ file, whatever labels they have, in the units of the file.

    Raises:
        ValueError: one sentence with file and frame.
    """
    structures = []
    for k, (_, text) in enumerate(frame_texts(path)):
        try:
            structures.append(parse_text(text))
        except ValueError as error:
            raise ValueError(f"{path}, frame {k}: {error}") from error
    return structures


def _absent(name: str, labels: Labels, paths: Sequence[Path]) -> str:
    return (
        f"No frame of {', '.join(map(str, paths))} has the key {labels.keys[name]!r} for the "
        f"{name}, or all are NaN: name the right one, or null to do without."
    )


def parse_frame(
    text: bytes,
    labels: Labels,
    number: int,
    *,
    path: Path,
    start: int,
    missing: Missing = "error",
    alone: float | None = None,
) -> Frame:
    """One frame from its bytes: see `read_frames`.

    Raises:
        ValueError: what is wrong with it, without file and number.
    """
    stop = start + len(text)
    return make_frame(
        parse_text(text), labels, number, missing=missing, alone=alone, place=(path, start, stop)
    )


def make_frame(
    atoms: Atoms,
    labels: Labels,
    number: int,
    *,
    missing: Missing = "error",
    alone: float | None = None,
    place: tuple[Path, int, int],
) -> Frame:
    """One frame from ASE's structure: see `read_frames`; `place` are its file and its bytes there.

    Raises:
        ValueError: what is wrong with it, without file and number.
    """
    if labels.molecules:
        atoms.set_pbc(False)
        atoms.set_cell(None)
    z = atoms.numbers.astype(np.int64)
    pos, cell = atoms.positions * labels.length, atoms.cell.array * labels.length
    check_structure(z, pos, cell, atoms.pbc)
    isolated = alone is not None and is_isolated(atoms, cell, alone)
    if isolated:
        outputs = replace(labels, **dict.fromkeys(INPUTS))
        values = {**outputs.read(atoms, missing="mask"), **labels.energy_only().read(atoms)}
    else:
        values = labels.read(atoms, missing=missing)
    unused = labels.unused_stress(atoms)
    return Frame(number, *place, z, pos, cell, atoms.pbc.copy(), values, isolated, unused)


def pack_frames(frames: Iterable[Frame], dtype: torch.dtype | None = None) -> PackedGraphs:
    """Frames in a few arrays, without neighbours (see `structure_fields`).

    Atoms far from the cell or the origin are moved by whole cells, or with their frame, so that
    their positions keep their digits: see `far_origins`.

    Args:
        frames: at least one.
        dtype: of floating-point numbers but energies, torch's default type by default.

    Raises:
        ValueError: no frames.
    """
    columns: dict[str, list[np.ndarray]] = {}
    labels: dict[str, np.ndarray] = {}
    for frame in frames:
        origin = far_origins(frame.pos, frame.cell, frame.pbc)
        entries = {
            "nodes": np.array([len(frame.z)]),
            "z": frame.z.astype(np.uint8),
            "pos": frame.pos - origin,
            "origin": origin,
            "cell": frame.cell[None],
            "pbc": frame.pbc[None],
            "index": np.array([frame.number]),
        }
        labels = {k: v if k in PER_ATOM else v[None] for k, v in frame.labels.items()}
        for key, value in {**entries, **labels}.items():
            columns.setdefault(key, []).append(value)
    if not columns:
        raise ValueError("There are no frames left to read.")
    arrays = {key: np.concatenate(parts) for key, parts in columns.items()}
    if not arrays["origin"].any():
        del arrays["origin"]
    fields = structure_fields(labels, dtype, far="origin" in arrays)
    return PackedGraphs(arrays, fields)


def atoms_of(path: Path) -> Iterable[Atoms]:
    """The structures of a file with all that it says of them, unchecked and in its units.

    Raises:
        ValueError: one sentence with file and frame.
    """
    return ase_structures(path) if needs_ase(path) else read_atoms(path)


def _readers(path: Path) -> Iterator[Callable[..., Frame]]:
    """Functions of labels, number and options that make the frames of a file."""
    if needs_ase(path):
        for atoms in ase_structures(path):
            yield partial(make_frame, atoms, place=(path, 0, 0))
    else:
        for start, text in frame_texts(path):
            yield partial(parse_frame, text, path=path, start=start)


def frame_texts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each frame starts, and its bytes; the last one may be cut off."""
    try:
        with open_with_compression(str(path), "rb") as file:
            start, frame = 0, 0
            while header := _line(file, path, frame):
                if start == 0 and header.startswith(BOM_UTF8):
                    start, header = len(BOM_UTF8), header.removeprefix(BOM_UTF8)
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
        "XYZ file, and is the number of atoms of the frame before right?"
    )


def _progress(frames: Iterable[Callable[..., Frame]], path: Path) -> Iterable[Callable[..., Frame]]:
    console = Console(stderr=True)
    return track(frames, f"reading {path.name}", console=console, disable=not console.is_terminal)
