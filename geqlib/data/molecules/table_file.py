"""Molecules of another file, read as the training table was, with or without its targets."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs
from geqlib.extras import extra_module
from geqlib.files.atomic import reading

SDF = (".sdf", ".sd", ".mol")
DELIMITERS = (",", ";", "\t")


class TableFile(SplitLoaders):
    """The molecules of a file as the test split, for predictions.

    Args:
        path: a CSV or SDF file; columns of targets may be missing.
        like: a `MoleculeTableData`, whose columns, features, cutoff and batches these have.

    Attributes:
        names: the SMILES of each molecule, or its number in an SDF file.
    """

    noun: ClassVar[str] = "molecule"

    def __init__(self, path: Path, like: Any) -> None:
        super().__init__()
        self.path, self.like = path, like
        self.batch_size, self.cutoff, self.targets = like.batch_size, like.cutoff, like.targets
        self.units = like.units
        self.names: list[str] = []
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        arrays = self.like.read(self.path)
        self.names = molecule_names(self.path, self.like.smiles, arrays["index"])
        if np.isnan(arrays["y"]).all():
            arrays = {name: value for name, value in arrays.items() if name != "y"}
        self.splits = {"test": self.like.packed([arrays], self.cutoff, str(self.path))}


def is_sdf(path: Path) -> bool:
    """Whether a file, compressed or not, is an SDF file by its name."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower() in SDF


def file_content(path: Path) -> bytes:
    """The bytes of a file; a .gz file is unpacked."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a CSV or SDF file of molecules.")
    with reading(path, "cannot be read", "write it again"):
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content


def table_text(path: Path) -> str:
    """The text of a CSV file of molecules.

    Raises:
        ValueError: a folder, an empty file, or one that is not in UTF-8.
    """
    content = file_content(path)
    with reading(path, "is no table in UTF-8", "save it as CSV in UTF-8"):
        text = content.decode("utf-8-sig")
    if not text.strip():
        raise ValueError(f"{path} is empty: expected a header and molecules.")
    return text


def molecule_names(path: Path, smiles: str, index: np.ndarray) -> list[str]:
    """What a table of predictions calls molecules: the SMILES of a CSV file, else their numbers.

    Args:
        path: of the file.
        smiles: name of its column.
        index: [G] row of each molecule, from 0.
    """
    if is_sdf(path):
        return [str(k) for k in index.tolist()]
    text = table_text(path)
    delimiter = max(DELIMITERS, key=text.splitlines()[0].count)
    header, *rows = (row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row))
    column = [name.strip() for name in header].index(smiles)
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    return [filled[k][column].strip() for k in index.tolist()]


def sdf_structures(path: Path) -> Iterator[Atoms]:
    """The three-dimensional molecules of an SDF file; properties that are numbers, or several, are
    in `info`.

    Raises:
        ValueError: a molecule that rdkit cannot read or that is not three-dimensional, or no rdkit.
    """
    extra_module("rdkit", "molecules")
    from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    molecules = Chem.ForwardSDMolSupplier(io.BytesIO(file_content(path)), removeHs=False)
    for number, molecule in enumerate(molecules):
        place = f"{path}, molecule {number + 1}"
        if molecule is None:
            raise ValueError(f"{place}: rdkit cannot read it: correct or drop it.")
        if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
            raise ValueError(f"{place} is not three-dimensional: give it positions, or drop it.")
        symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
        atoms = Atoms(symbols, molecule.GetConformer().GetPositions())
        for name in molecule.GetPropNames():
            with suppress(ValueError):
                atoms.info[name.strip()] = _value(molecule.GetProp(name))
        yield atoms


def _value(text: str) -> float | np.ndarray:
    """A number, or an array of several, which spaces, commas or lines separate.

    Raises:
        ValueError: other text.

    Example:
        >>> _value("-1.5"), _value("[0.5, 1, 0]"), _value("1 2\\n3 4")
        (-1.5, array([0.5, 1. , 0. ]), array([1., 2., 3., 4.]))
    """
    values = np.array([float(word) for word in re.sub(r"[\[\](),;]", " ", text).split()])
    if not len(values):
        raise ValueError("no number")
    return float(values[0]) if len(values) == 1 else values
