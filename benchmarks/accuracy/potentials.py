"""Potentials of four data sets at equal processor time: GauntNet, PONITA, EScAIP, DPA3 and MACE.

Protocol: the CPU minutes of one thread that a row names for each run, {minutes} by default,
validation on top, seeds {seeds}; for each run as many steps as take them by the seconds of a step,
measured once and kept in benchmarks/budgets (MACE, which validates every epoch: epochs, by the
seconds of an epoch with its validation). Networks and recipes are those of configs/3bpa_*.yaml,
nothing was searched for a data set; the cosine of the learning rate ends with the last step (MACE:
32x0e + 32x1o, max_ell 2, correlation 3, two interactions, its learning rate falls exponentially, by
the best of three factors in validation, each trained for the whole budget).
Batches of {batch} structures, 5 angstrom, energies and forces without stress, averaged weights, the
epoch of least force error in validation. Data: 3BPA at 300 K (450 / 50, 1669 for the test), aspirin
of revised MD17 (950 / 50, 1800), periodic silicon of mlearn (0.9 / 0.1, 25) and boxes of a liquid
carbonate electrolyte (0.8 / 0.1 / 0.1). Errors are root mean squares on the test set, mean over
seeds. Forces are derivatives of energies, but for EScAIP's direct head
(configs/3bpa_escaip_direct.yaml, trained with random rotations), whose row says that they are not
conservative.
"Memory" is the peak of three training steps above what a fresh process had before them, with data
and network. "Drift" is that of the total energy in {steps} steps of velocity Verlet ({step} fs,
300 K, float64, first seed, first test structure); "trust" are the checks of `geqlib check` on that
structure that fail, or how many passed; MACE, in a process of its own environment, has those of any
calculator and float32, but no compiled and exported forms of ours.

    make peers
    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/potentials.py \\
        [--only DATA ...] [--models MODEL ...] [--seeds 0 1 2] [--minutes 2]

Other minutes have rows of their own. Each row is written when it is measured, finished runs stay in
runs/, and the command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import mace
from benchmarks.peers.mace_calculator import TrainedMACE
from benchmarks.provenance import recorded, running, start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import publish
from benchmarks.training import (
    QUIET,
    RUNS,
    finished,
    kept_seconds,
    measured_by,
    metric,
    schedule,
    step_memory,
    step_seconds,
    trained,
)
from geqlib.calculators import GeqCalculator, checks
from geqlib.calculators.dynamics import Dynamics, simulate
from geqlib.calculators.model_checks import SINGLE, check_potential, compared
from geqlib.calculators.subject import Row as Check
from geqlib.calculators.subject import Subject
from geqlib.data import MoleculeData

NAME = "accuracy/potentials"
MINUTES, SEEDS = 2.0, (0, 1, 2)
BATCH, CUTOFF = 5, 5.0
STEPS, STEP = 2000, 0.5  # of dynamics, and their length in fs
MODELS = {
    "gaunt": "geqlib GauntNet",
    "ponita": "geqlib PONITA",
    "escaip": "geqlib EScAIP",
    "escaip_direct": "geqlib EScAIP, direct forces (not conservative)",
    "dpa3": "geqlib DPA3",
}
MACE = "MACE"
COLUMNS = (
    Column("forces", "force RMSE", "meV/Å", ".1f"),
    Column("energy", "energy RMSE", "meV per atom", ".2f"),
    Column("step", "seconds of a step", "", ".3f"),
    Column("memory", "memory", "MiB", ".0f"),
    Column("drift", "drift", "meV per atom and ps", ".2g"),
    Column("trust", "trust"),
)


@dataclass(frozen=True)
class DataSet:
    """A data set of the comparison.

    Args:
        title: of its rows.
        elements: of networks that have to be told.
        data: arguments of `MoleculeData`.
        isolated: whether energies of isolated atoms are there.
    """

    title: str
    elements: tuple[str, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    isolated: bool = False


SETS = {
    "3bpa": DataSet(
        "3BPA, 300 K",
        ("H", "C", "N", "O"),
        {
            "train": "3bpa/train_300K.xyz.xz",
            "val": 50,
            "test": "3bpa/test_300K.xyz.xz",
            "reference_file": "3bpa/iso_atoms.xyz",
        },
        isolated=True,
    ),
    "aspirin": DataSet(
        "aspirin",
        ("H", "C", "O"),
        {
            "train": "md17/rmd17_aspirin_train.xyz.xz",
            "val": 50,
            "test": "md17/rmd17_aspirin_test.xyz.xz",
            "num_train": 950,
        },
    ),
    "silicon": DataSet(
        "silicon, periodic",
        ("Si",),
        {"train": "mlearn/Si/train.extxyz.xz", "val": 0.1, "test": "mlearn/Si/test.extxyz.xz"},
    ),
    "solvents": DataSet(
        "liquid boxes",
        ("H", "C", "O"),
        {
            "train": "mace_tutorial_solvents/ECEMC.xyz.xz",
            "val": 0.1,
            "test": 0.1,
            "missing": "mask",
            "isolated_atoms": "references",
        },
        isolated=True,
    ),
}


def main() -> None:
    options = _arguments()
    models = [model for model in options.models if model != "mace" or mace.available()]
    if len(models) < len(options.models):
        sys.stdout.write("MACE is left out: make peers installs it\n")
    for name in options.only:
        for model in models:
            write_row(measure(name, model, options.seeds, options.minutes))


def write_row(row: Row) -> None:
    """Add a row to the result file, or replace that of the same data, minutes and model."""
    table = joined(NAME, Table(("data", "CPU minutes", "model"), COLUMNS, (row,), "forces"))
    order = {data.title: k for k, data in enumerate(SETS.values())}
    rows = sorted(
        table.rows, key=lambda r: (order.get(r.labels[0], len(order)), float(r.labels[1]))
    )
    publish(measured(NAME, __doc__, [replace(table, rows=tuple(rows))]))


def measure(name: str, model: str, seeds: list[int], minutes: float) -> Row:
    """The row of a model on a data set; trains what is missing."""
    make = _of_mace if model == "mace" else partial(_of_ours, model)
    cells, by = make(name, seeds, minutes)
    title = MACE if model == "mace" else MODELS[model]
    origin = "peer" if model == "mace" else "geqlib"
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    setup = f"{count}, {minutes:g} CPU minutes of one thread each"
    return Row((SETS[name].title, f"{minutes:g}", title), cells, origin, setup, **by)


# --- our networks --------------------------------------------------------------------------------


def _of_ours(
    model: str, name: str, seeds: list[int], minutes: float
) -> tuple[dict[str, Cell], dict[str, Any]]:
    config, changes = configuration(name, model)
    timed = step_seconds("potentials", {f"{name}-{model}": (config, changes)})
    seconds = timed[f"{name}-{model}"]
    options = QUIET | changes | schedule(60 * minutes / seconds["step"], seconds)
    folders = [_folder(name, model, minutes, seed) for seed in seeds]
    results = [
        trained(folder, config, options, seed) for folder, seed in zip(folders, seeds, strict=True)
    ]
    place = f"potentials/{folders[0].name}"
    memory = finished(f"{place}-memory", partial(step_memory, config, changes))
    used = finished(f"{place}-use", partial(in_use, name, folders[0]))
    cells: dict[str, Cell] = {
        "forces": metric(results, "test/forces_rmse"),
        "energy": metric(results, "test/energy_per_atom_rmse"),
        "step": seconds["step"],
        "parameters": results[0]["fit"]["parameters"],
        "steps": results[0]["fit"]["steps"],
    }
    return cells | use_cells(memory, used), measured_by([*results, memory, used])


def use_cells(memory: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Cell]:
    """Of memory, where the system counts it, dynamics and checks."""
    drift = "dynamics failed" if used["drift"] is None else used["drift"]
    counted = {} if memory["mebibytes"] is None else {"memory": memory["mebibytes"]}
    return {**counted, "drift": drift, "trust": used["trust"]}


def configuration(name: str, model: str) -> tuple[Path, dict[str, object]]:
    """The configuration of 3BPA and what changes for another data set."""
    data = SETS[name]
    changes: dict[str, object] = {
        "data": {"class_path": "geqlib.data.MoleculeData", "init_args": data_arguments(name)},
        "model.init_args.references": "isolated" if data.isolated else "least_squares",
    }
    if model == "gaunt":
        changes["model.init_args.model.init_args.elements"] = list(data.elements)
    return Path(f"configs/3bpa_{model}.yaml"), changes


def data_arguments(name: str) -> dict[str, Any]:
    # the configuration of 3BPA has such a file
    return {"cutoff": CUTOFF, "batch_size": BATCH, "reference_file": None, **SETS[name].data}


def in_use(name: str, folder: Path) -> dict[str, Any]:
    """Drift of the energy, and the checks that fail, of a trained model."""
    checkpoint = folder / "checkpoints" / "best.ckpt"
    atoms = first_test_structure(name)
    rows = check_potential(checkpoint, [atoms])
    return judged(rows, atoms, GeqCalculator(checkpoint, dtype=torch.float64))


def judged(rows: Sequence[Check], atoms: Atoms, calculator: Calculator) -> dict[str, Any]:
    """Drift by a calculator, None of dynamics that fail, and a summary of checks."""
    tested = [row for row in rows if row.passed is not None]
    wrong = [row.name for row in tested if not row.passed]
    trust = f"{len(tested)} passed" if not wrong else ", ".join(wrong)
    try:
        change = abs(drift(atoms, calculator))
    except ValueError as error:  # such as of atoms that fly apart
        sys.stdout.write(f"dynamics failed: {error}\n")
        change = None
    return {"drift": change if change is None or isfinite(change) else None, "trust": trust}


def drift(atoms: Atoms, calculator: Calculator) -> float:
    """In meV per atom and picosecond, of constant energy."""
    moving = atoms.copy()
    moving.calc = calculator
    with TemporaryDirectory() as scratch:
        settings = Dynamics("nve", timestep=STEP)
        return simulate(moving, Path(scratch) / "nve.traj", settings, STEPS).drift


def first_test_structure(name: str) -> Atoms:
    data = _read(name)
    atoms = data.atoms(int(data.splits["test"].index[0]))
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


# --- MACE ----------------------------------------------------------------------------------------


def _of_mace(name: str, seeds: list[int], minutes: float) -> tuple[dict[str, Cell], dict[str, Any]]:
    """By its own command, whose folder and seed are one for each of ours."""
    data = _read(name)
    splits = {part: mace.frames(data, part) for part in ("train", "val", "test")}
    energies: Any = data.reference_energies if SETS[name].isolated else "average"
    folders = [_folder(name, "mace", minutes, seed) for seed in seeds]
    place = folders[0].with_name(f"{name}-mace-timing")
    timing = partial(mace.epoch_seconds, place, splits, energies)
    seconds = kept_seconds("potentials", f"{name}-mace epoch", timing)
    epochs = max(round(60 * minutes / seconds), 1)
    outcomes = []
    for folder, seed in zip(folders, seeds, strict=True):
        begun = recorded(folder, running())
        outcome = mace.best_of_decays(folder, splits, energies, epochs, seed + 1)
        outcomes.append(outcome | {"provenance": begun})
    models = [
        folder / f"decay-{outcome['decay']:g}" / "mace.model"
        for folder, outcome in zip(folders, outcomes, strict=True)
    ]
    energies_off = [
        finished(f"potentials/{folder.name}-energies", partial(mace_answer, model, "errors"))
        for folder, model in zip(folders, models, strict=True)
    ]
    place = f"potentials/{folders[0].name}"
    memory = finished(f"{place}-memory", partial(mace_answer, models[0], "memory"))
    used = finished(f"{place}-use", partial(mace_in_use, name, models[0]))
    steps = -(-len(splits["train"]) // mace.SETTINGS["batch_size"])
    cells: dict[str, Cell] = {
        "forces": over([forces for run in outcomes for _, forces in run["test"].values()]),
        "energy": over([run["energy"] for run in energies_off]),
        "step": seconds / steps,
        "epochs": epochs,
    }
    runs = [*outcomes, *energies_off, memory, used]
    return cells | use_cells(memory, used), measured_by(runs)


def mace_answer(model: Path, task: str) -> dict[str, Any]:
    """Errors of energies per atom, which its own table lacks, or memory, in a fresh process."""
    files = {part: str((model.parent / f"{part}.xyz").absolute()) for part in ("train", "test")}
    about: Any = files["test"] if task == "errors" else (files["train"], BATCH)
    with TrainedMACE(model, "float32") as peer:
        return peer.ask(task, about)


def mace_in_use(name: str, model: Path) -> dict[str, Any]:
    """As `in_use`, with the checks that need no more than a calculator."""
    atoms = first_test_structure(name)
    moved = checks.displaced_at_random(atoms, 0)
    with TrainedMACE(model, "float64") as exact, TrainedMACE(model, "float32") as single:
        rows = checks.check_calculator(exact, [atoms], cutoff=CUTOFF)
        subject = Subject(exact, moved, CUTOFF)
        rows += [compared("float32 against float64", [subject], single, SINGLE, "rounding")]
        return judged(rows, atoms, exact)


def _read(name: str) -> MoleculeData:
    data = MoleculeData(**data_arguments(name))
    data.setup()
    return data


def _folder(name: str, model: str, minutes: float, seed: int) -> Path:
    return RUNS / "potentials" / f"{name}-{model}-{minutes:g}min-seed{seed}"


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    models = [*MODELS, "mace"]
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of each run")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
