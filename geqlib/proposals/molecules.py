"""A configuration for properties of molecules, from the columns of a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from geqlib.counted import counted
from geqlib.data.download import find_files
from geqlib.data.molecules.table import DELIMITERS, MISSING, unreadable_molecules
from geqlib.data.molecules.table_file import file_content, is_sdf, table_text
from geqlib.extras import extra_module
from geqlib.proposals.proposal import Line, Proposal, run_name

Columns = Mapping[str, Sequence[str]]
NAMES = ("id", "index", "idx", "no", "number", "name", "cid", "unnamed: 0", "")  # no targets
LEAST = 10  # molecules


def look(file: str) -> Proposal:
    """Propose a network for the molecules of a CSV or SDF file.

    Raises:
        ValueError: no column of SMILES, no column of numbers, or too few molecules.
    """
    (path,) = find_files(file)
    extra_module("rdkit", "molecules")
    columns = _properties(path) if is_sdf(path) else _cells(path)
    count = max(map(len, columns.values()), default=0)
    if count < LEAST:
        raise ValueError(f"{file} has {count} molecules: give at least {LEAST} to learn from.")
    table = not is_sdf(path)
    smiles = next((name for name in columns if "smiles" in name.lower()), None)
    if table and smiles is None:
        raise ValueError(
            f"{file} has no column of SMILES, only {', '.join(columns)}: name it smiles."
        )
    values = {name: numbers(cells) for name, cells in columns.items() if name != smiles}
    targets = {name: x for name, x in values.items() if x and name.lower() not in NAMES}
    if not targets:
        raise ValueError(
            f"{file} has no column of numbers to learn, only {', '.join(columns)}: targets are "
            "numbers, classes 0 and 1."
        )
    unused = [
        f"{name} ({_no_target(cells)})"
        for name, cells in columns.items()
        if name not in (*targets, smiles) and name.lower() not in NAMES
    ]
    binary = [name for name, x in targets.items() if set(x) <= {0.0, 1.0}]
    classes = len(binary) > 0
    chosen = binary if classes else list(targets)
    left = [name for name in targets if name not in chosen]
    missing = sum(count - len(targets[name]) for name in chosen)
    task = "MaskedClassificationTask" if classes else "MaskedRegressionTask"
    several = len(chosen) > 1 and not classes
    error = "val/std_mae" if several else "val/mae"
    settings = {
        "file": file,
        "targets": chosen,
        "count": len(chosen),
        "task": task,
        "monitor": Line("val/auroc" if classes else error),
        "mode": "max" if classes else "min",
        "smiles": smiles or "smiles",
        "skip": Line(""),
        "batch": max(min(32, count // 20), 1),
    }
    kind = "yes-or-no targets, 0 and 1" if classes else "numbers"
    bad = unreadable_molecules(path, smiles or "smiles")
    if bad:
        settings["skip"] = Line("\n    on_bad_molecule: skip  # what rdkit cannot read")
    reasons = (
        f"{count} molecules" + (f", SMILES in the column {smiles!r}" if table else ""),
        f"targets {', '.join(chosen)}: {kind}; {task}",
        f"{', '.join(left)}: numbers, left out: they need a configuration of their own"
        if left
        else "",
        f"no targets: {', '.join(unused)}" if unused else "",
        "std_mae: errors divided by each target's standard deviation, as units may differ"
        if several
        else "",
        f"{missing} missing values are left out of the loss" if missing else "",
        f"on_bad_molecule skip: {counted(len(bad), 'molecule')} left out; the first was {bad[0]}"
        if bad
        else "",
        "split random: `split: scaffold` is harder, and nearer to new molecules",
    )
    return Proposal("molecules", run_name(file), settings, tuple(filter(None, reasons)))


def numbers(cells: Sequence[str]) -> list[float]:
    """The numbers of a column, without those that are missing; empty if it holds anything else.

    Example:
        >>> numbers(["1", "", "2.5"]), numbers(["1", "two"]), numbers(["3", "3"])
        ([1.0, 2.5], [], [])
    """
    written = [cell.strip() for cell in cells if cell.strip().lower() not in MISSING]
    try:
        values = [float(cell) for cell in written]
    except ValueError:
        return []
    same = len(set(values)) < 2
    return [] if same or not all(map(math.isfinite, values)) else values


def _no_target(cells: Sequence[str]) -> str:
    """Why a column holds no numbers to learn."""
    for cell in cells:
        if cell.strip().lower() not in MISSING and not _is_number(cell):
            return f"{cell!r} is no number"
    return "one value alone" if any(map(_is_number, cells)) else "empty"


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _cells(path: Path) -> Columns:
    text = table_text(path)
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    header, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows = [row for row in rows if len(row) == len(header)]
    return {name.strip(): [row[k] for row in rows] for k, name in enumerate(header)}


def _properties(path: Path) -> Columns:
    from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    supplier = Chem.ForwardSDMolSupplier(io.BytesIO(file_content(path)))
    molecules = [molecule for molecule in supplier if molecule is not None]
    names = dict.fromkeys(name for m in molecules for name in m.GetPropNames())
    return {name: [m.GetProp(name) if m.HasProp(name) else "" for m in molecules] for name in names}


EXAMPLE = Proposal(
    "molecules",
    "my_molecules",
    {
        "file": "molecules.csv",
        "targets": ["solubility"],
        "count": 1,
        "task": "MaskedRegressionTask",
        "monitor": Line("val/mae"),
        "mode": "min",
        "smiles": "smiles",
        "skip": Line(""),
        "batch": 32,
    },
    (
        "data: file, the column of SMILES and the targets are examples: put in yours",
        "of classes 0 and 1: MaskedClassificationTask, monitor val/auroc, monitor_mode max",
        "or name the file, and this command looks at it: geqlib new molecules FILE",
    ),
)
