"""Diffusion trained on few molecules: does it learn them by heart, and how does it learn 1000?

Protocol: PONITA of `generation.py`, its sampler and its scores, trained on the first molecules of
EDM's training split alone (QM9 has at most 9 heavy atoms), for as many steps as took {minutes}
minutes of processor time on one thread, {constant} of them at a constant rate, which then falls
along a cosine; seed {seed}. {few} molecules in one batch, the first of all and the first of at most
{small} atoms, sampled with the last weights: at least 90 % of molecules should be stable, and few
are novel. {many} molecules in batches of {batch}, sampled with the weights of least validation
loss. The rate is {rate}. Scores are those of {samples} samples from sigma_max {sigma_max}, over
sampling seeds {sampling_seeds}. Curves are the validation loss, and the stability of {watched}
samples from the start of the published code, against minutes of processor time.

The result file is written after every row. Runs that were stopped go on, and so do batches of
samples; a longer budget goes on with the part of a shorter one that had the constant rate.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/generation_few.py
        [--only "1000 molecules"] [--minutes 45] [--samples 1000]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.generation import (
    COLUMNS,
    CONFIG,
    LEARNING_RATE,
    OURS,
    options,
    own_row,
    run_name,
    sampled,
    trained_for,
)
from benchmarks.provenance import start
from benchmarks.rows import Curve, Row, Table, joined, measured
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import RUNS, finished, step_memory, step_seconds, validation_curve

# those of generation.py, for the protocol above
MINUTES, SEED, SAMPLES, SAMPLING_SEEDS = 45.0, 0, 1000, (0, 1, 2)
BATCH, CONSTANT, SIGMA_MAX = 64, 0.8, 5.0
FEW, SMALL, MANY = 50, 8, 1000
# molecules, and atoms of each at most
TRAININGS: dict[str, tuple[int, int | None]] = {
    f"{FEW} molecules": (FEW, None),
    f"{FEW} molecules of at most {SMALL} atoms": (FEW, SMALL),
    f"{MANY} molecules": (MANY, None),
}
RATE = 3e-3
WATCHED, EVERY = 100, 2000  # samples while training, and steps between them
CURVES = {
    "validation loss": "val/loss",
    "molecule stability": "val/molecule_stability",
    "atom stability": "val/atom_stability",
}


def main() -> None:
    command = _arguments()
    names = command.only or list(TRAININGS)
    runs = {name: (CONFIG, changes(*TRAININGS[name])) for name in names}
    timed = step_seconds("generation_few", runs)
    whole = (command.minutes, command.samples) == (MINUTES, SAMPLES)
    rows: list[Row] = []
    for name in names:
        rows.append(row(name, command, timed[name]))
        if whole:
            settings = vars(command)
            table = joined("accuracy/generation_few", compared(rows))
            publish(measured("accuracy/generation_few", __doc__, [table], settings))
    if not whole:
        sys.stdout.write(markdown(*drawn(compared(rows))))


def changes(molecules: int, atoms: int | None) -> dict[str, object]:
    """To the configuration."""
    heart = molecules <= FEW
    batch = molecules if heart else BATCH
    steps = -(-molecules // batch)  # of an epoch
    size = {} if atoms is None else {"data.init_args.max_atoms": atoms}
    run = options(OURS) | {
        "data.init_args.num_train": molecules,
        "data.init_args.batch_size": batch,
        LEARNING_RATE: RATE,
        "model.init_args.sample_every": EVERY // steps,
        "model.init_args.samples": WATCHED,
    }
    return run | size


def row(name: str, command: Namespace, timed: Mapping[str, float]) -> Row:
    molecules, atoms = TRAININGS[name]
    run = changes(molecules, atoms)
    folder = trained_for(command.minutes, name, run, timed)
    how = {"weights": "last" if molecules <= FEW else "best", "training": (molecules, atoms)}
    scores = [
        sampled(folder, command.samples, seed, command.sigma_max, **how)
        for seed in command.sampling_seeds
    ]
    memory = finished(f"{folder.name}/memory", partial(step_memory, CONFIG, run))["mebibytes"]
    rate = run[LEARNING_RATE]
    labels = name, f"{command.sigma_max:g}"
    done = own_row(labels, OURS, folder, rate, scores, memory)
    return replace(done, curves=curves((RUNS / run_name(name, rate), folder)))


def curves(folders: Sequence[Path]) -> dict[str, Curve]:
    """By minutes, of the part at the constant rate and of the decay."""
    parts = {
        name: [point for folder in folders for point in validation_curve(folder, column)]
        for name, column in CURVES.items()
    }
    return {name: tuple(sorted(set(points))) for name, points in parts.items() if points}


def compared(rows: Sequence[Row]) -> Table:
    return Table(("training", "sigma_max"), COLUMNS, tuple(rows), "molecule")


def _arguments() -> Any:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(TRAININGS), help="these rows alone")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="for each sampling seed")
    parser.add_argument("--sampling-seeds", type=int, nargs="+", default=list(SAMPLING_SEEDS))
    parser.add_argument("--sigma-max", type=float, default=SIGMA_MAX)
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
