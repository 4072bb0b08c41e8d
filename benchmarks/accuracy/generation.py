"""Molecules of QM9 by diffusion: PONITA beside EGNN and a transformer at equal processor time.

Protocol: the split of EDM (Hoogeboom et al. 2022), 100 000 molecules for training;
configs/qm9_generation_ponita.yaml with the smaller networks of this file, whose parameters are
equal within 10 %, batches of {batch}, averaged weights (decay {ema}, which forgets the first
weights in a budget of minutes), rotated training molecules, as many training steps as took
{minutes} minutes of processor time on one thread, {constant} of them at a constant rate, which then
falls along a cosine; the epoch of least validation loss on {val} molecules is sampled; seed {seed}.
The rate of each network is that of {rates} with the least validation loss in a run of {choice}
minutes; widths of the two equivariant ones, of three each, and the kernels of PONITA were chosen
before by the same loss, after as long at a constant rate. These kernels are factored, into
functions of ln(distance) and harmonics of directions, which the published ones are not: the
ablation has a row with those. All take the same preconditioning, loss, noise and sampler: Heun, 40
levels from sigma_max to 0.002, churn 10. Scores are those of {samples} samples by the rules of EDM,
± the deviation over sampling seeds {sampling_seeds}; molecules that end in NaN count as failures.
Novel: distinct molecules that are not among the training molecules, by SMILES from positions. Rows
of the ablation change one thing of the first, at its rate; kernels of pairs know the noise level
and the elements of both atoms, and have twice the radial functions. Published rows were trained a
thousand times as long and are scores of 10 000 samples.

The result file is written after every row; rows that were measured before are kept. Runs that were
stopped go on, and so do batches of samples, both in runs/. A longer budget goes on with the part of
a shorter one that was trained at the constant rate. With --ablation the rows of the ablation come,
too. `generation_few.py` trains on few molecules.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/generation.py [--ablation]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import (
    QUIET,
    RUNS,
    branched,
    chosen_rate,
    decaying_schedule,
    finished,
    measured_by,
    step_memory,
    step_seconds,
)
from geqlib.data import QM9Generation
from geqlib.files.checkpoint import read_checkpoint, trusting
from geqlib.generation import Molecules
from geqlib.train.novelty import training_smiles
from geqlib.train.samples import SampleSettings, complete_samples, load_diffusion
from geqlib.train.tasks.diffusion import scores_of

CONFIG = Path("configs/qm9_generation_ponita.yaml")
LEARNING_RATE = "model.init_args.lr"
MODEL = "model.init_args.model.init_args.network"
PEERS = "benchmarks.peers.denoisers"
FEATURES = {"in_scalars": 6, "out_scalars": 5}
MINUTES, SEED, SAMPLES, SAMPLING_SEEDS = 45.0, 0, 1000, (0, 1, 2)
BATCH, RATES, CHOICE, EMA, VAL = 64, (3e-3, 6e-3), 5.0, 0.995, 960
CONSTANT, INTERVAL = 0.8, 250  # share of the steps at a constant rate; steps between validations
SIGMA_MAX, PUBLISHED_SIGMA_MAX = 5.0, 1.0
NETWORKS: dict[str, dict[str, Any]] = {
    "geqlib PONITA": {
        "class_path": "geqlib.models.PONITA",
        "init_args": {
            **FEATURES,
            "in_vectors": 1,
            "out_vectors": 1,
            "channels": 76,
            "basis": 32,
            "layers": 4,
            "widen": 3,
            "factored": True,
            "radial": {
                "class_path": "geqlib.radial.LogGaussianBasis",
                "init_args": {"count": 12, "r_min": 0.3, "r_max": 8.0},
            },
        },
    },
    "EGNN": {
        "class_path": f"{PEERS}.DenoisingEGNN",
        "init_args": {**FEATURES, "channels": 73, "layers": 5},
    },
    "transformer, not equivariant": {
        "class_path": f"{PEERS}.DenoisingTransformer",
        "init_args": {**FEATURES, "channels": 64, "layers": 4},
    },
}
OURS = next(iter(NETWORKS))
# kernels of pairs of elements, and of finer differences of distances
OF_PAIRS = {f"{MODEL}.init_args.edge_dim": 11, f"{MODEL}.init_args.radial.init_args.count": 24}
FACTORED = "factored", "radial"  # kernels that published networks have not
PUBLISHED_KERNELS = {k: v for k, v in NETWORKS[OURS]["init_args"].items() if k not in FACTORED}
# changes to the run of the first network, which are trained anew
ABLATIONS: dict[str, dict[str, Any]] = {
    "kernels of pairs": OF_PAIRS,
    "published kernels": {MODEL: {**NETWORKS[OURS], "init_args": PUBLISHED_KERNELS}},
    "not rotated": {"model.init_args.rotate": False},
    "20 orientations": {f"{MODEL}.init_args.orientations": 20},
    "elements not scaled": {"model.init_args.model.init_args.type_scale": 1.0},
}
SCORES = ("molecule", "atom", "valid", "valid and unique", "novel", "dropped")
NOT_AVERAGED = "weights not averaged"
COLUMNS = (
    Column("molecule", "molecule stability", "%", ".1f"),
    Column("atom", "atom stability", "%", ".2f"),
    Column("valid", "valid", "%", ".1f"),
    Column("valid and unique", "valid and unique", "%", ".1f"),
    Column("novel", "novel", "%", ".1f"),
    Column("dropped", "NaN", "%", ".1f"),
    Column("rules", "rules of bonds"),
    Column("parameters", "parameters"),
    Column("rate", "steps a second", "", ".2f"),
    Column("memory", "memory of a step", "MiB", ".0f"),
)
# atom and molecule stability, valid, valid and unique, in %
PUBLISHED = {
    "EDM": ((98.7, 82.0, 91.9, 90.7), "Hoogeboom et al. 2022"),
    "GeoLDM": ((98.9, 89.4, 93.8, 92.7), "Xu et al. 2023"),
    "PONITA": ((98.9, 87.8), "Bekkers et al. 2024, quoted from memory"),
}


def main() -> None:
    command = _arguments()
    runs = {name: options(name) for name in NETWORKS}
    runs |= {name: options(OURS) | change for name, change in ABLATIONS.items()}
    plan = planned(command)
    used = {name for _, name, _, _ in plan}
    used |= {OURS} if used & ABLATIONS.keys() else set()
    runs = {name: run for name, run in runs.items() if name in used}
    timed = step_seconds("generation", {name: (CONFIG, run) for name, run in runs.items()})
    rates = {name: chosen(name, runs[name], timed[name]) for name in runs if name in NETWORKS}
    rows: list[Row] = []
    whole = (command.minutes, command.samples) == (MINUTES, SAMPLES)
    for label, name, sigma_max, averaged in plan:
        run = runs[name] | {LEARNING_RATE: rates[OURS if name in ABLATIONS else name]}
        folder = trained_for(command.minutes, name, run, timed[name])
        scores = [
            sampled(folder, command.samples, seed, sigma_max, averaged)
            for seed in command.sampling_seeds
        ]
        memory = finished(f"{folder.name}/memory", partial(step_memory, CONFIG, run))["mebibytes"]
        labels = label, f"{sigma_max:g}"
        rows.append(own_row(labels, name, folder, run[LEARNING_RATE], scores, memory))
        if whole:
            table = joined("accuracy/generation", compared(rows))
            publish(measured("accuracy/generation", __doc__, [table], vars(command)))
    if not whole:
        sys.stdout.write(markdown(*drawn(compared(rows))))


def chosen(name: str, changes: Mapping[str, object], timed: Mapping[str, float]) -> float:
    """The rate with the least validation loss after a few minutes."""
    folders = {
        rate: trained_for(CHOICE, name, {**changes, LEARNING_RATE: rate}, timed) for rate in RATES
    }
    return chosen_rate(folders, "val/loss")


def trained_for(
    minutes: float, name: str, changes: Mapping[str, Any], timed: Mapping[str, float]
) -> Path:
    """The folder of a run of these minutes, which goes on from that of fewer."""
    rate = changes[LEARNING_RATE]
    limits, epochs = decaying_schedule(
        60 * minutes / timed["step"], timed, every=INTERVAL, share=CONSTANT
    )
    trunk, folder = RUNS / run_name(name, rate), RUNS / run_name(name, rate, minutes)
    return branched(trunk, folder, CONFIG, {**changes, **limits}, SEED, epochs)


def run_name(name: str, rate: float, minutes: float | None = None) -> str:
    """Of the folder of a budget, or of what all budgets go on with."""
    words = f"generation-{name.replace(',', '').replace(' ', '-')}-rate{rate:g}"
    return words if minutes is None else f"{words}-{minutes:g}min"


def planned(command: Namespace) -> list[tuple[str, str, float, bool]]:
    """Label, run, largest noise level and whether weights are averaged, row by row."""
    sigma_max = command.sigma_max
    names = command.only or [*NETWORKS, *(ABLATIONS if command.ablation else ())]
    labels = {name: f"PONITA, {name}" for name in ABLATIONS}
    rows = [(labels.get(name, name), name, sigma_max, True) for name in names]
    if command.ablation:
        rows.append((f"PONITA, {NOT_AVERAGED}", OURS, sigma_max, False))
        rows.append(("PONITA, another start", OURS, PUBLISHED_SIGMA_MAX, True))
    return rows


def options(name: str) -> dict[str, object]:
    """Changes to the configuration."""
    return QUIET | {
        MODEL: NETWORKS[name],
        "model.init_args.sample_every": 0,
        "data.init_args.split": "EDM",
        "data.init_args.batch_size": BATCH,
        "trainer.limit_val_batches": VAL // 96,
        "ema": EMA,
    }


def sampled(
    folder: Path,
    count: int,
    seed: int,
    sigma_max: float,
    averaged: bool = True,
    *,
    weights: str = "best",
    training: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    """Scores of samples of a run, which are kept beside it.

    Args:
        folder: of the run.
        count, seed, sigma_max: of the samples.
        averaged: whether weights are.
        weights: "best" or "last".
        training: number of training molecules, and of atoms in each at most; None for all.
    """
    name = f"{folder.name}/samples-{count}-sigma{sigma_max:g}-seed{seed}"
    name += "" if averaged else "-not-averaged"
    settings = (count, seed, sigma_max, averaged)
    checkpoint = folder / "checkpoints" / f"{weights}.ckpt"
    return finished(name, partial(_sampled, checkpoint, settings, RUNS / name, training))


def _sampled(
    checkpoint: Path,
    settings: tuple[int, int, float, bool],
    parts: Path,
    training: tuple[int | None, int | None],
) -> dict[str, Any]:
    count, seed, sigma_max, averaged = settings
    with trusting(PEERS):
        task = load_diffusion(checkpoint)
    if not averaged:
        task.load_state_dict(read_checkpoint(checkpoint)["current_model_state"])
    how = SampleSettings(seed, sampler=replace(task.sampler, sigma_max=sigma_max))
    molecules = complete_samples(
        task, checkpoint, parts, count, how, progress=partial(track, description=parts.name)
    )
    return percentages(molecules, training_texts(*training))


@cache
def training_texts(molecules: int | None, atoms: int | None) -> frozenset[str]:
    """SMILES of the first training molecules of at most so many atoms, or of all."""
    data = QM9Generation("EDM", num_train=molecules, max_atoms=atoms)
    data.setup()
    chunks = partial(track, description="SMILES of the training molecules")
    return training_smiles(data.splits["train"], progress=chunks)


def percentages(molecules: Molecules, training: Collection[str]) -> dict[str, Any]:
    scores = scores_of(molecules, training=training)
    return {
        "rules": scores.rules,
        "novel": 100 * (scores.novelty or 0.0),
        "molecule": 100 * scores.molecule_stability,
        "atom": 100 * scores.atom_stability,
        "valid": 100 * (scores.validity or 0.0),
        "valid and unique": 100 * (scores.unique or 0) / scores.molecules,
        "dropped": 100 * float(molecules.dropped.double().mean()),
    }


def own_row(
    labels: tuple[str, str],
    name: str,
    folder: Path,
    rate: float,
    scores: list[dict[str, Any]],
    memory: float | None,
) -> Row:
    fit = json.loads((folder / "fit.json").read_text())
    cells: dict[str, Cell] = {key: over([score[key] for score in scores]) for key in SCORES}
    cells |= {"rules": scores[0]["rules"], "parameters": fit["parameters"], "steps": fit["steps"]}
    cells["rate"] = fit["steps"] / fit["processor_seconds"]
    cells |= {} if memory is None else {"memory": memory}
    minutes = fit["processor_seconds"] / 60
    setup = f"{fit['steps']} steps at the rate {rate:g} in {minutes:.0f} CPU minutes"
    origin = "geqlib" if name == OURS or name in ABLATIONS else "peer"
    return Row(labels, cells, origin, setup, **measured_by(scores))


def compared(rows: list[Row]) -> Table:
    published = []
    for name, (values, source) in PUBLISHED.items():
        keys = ("atom", "molecule", "valid", "valid and unique")
        cells: dict[str, Cell] = dict(zip(keys, values, strict=False))
        cells["rules"] = "EDM, as reported"
        published.append(Row((name, ""), cells, "published", source=source))
    return Table(("", "sigma_max"), COLUMNS, (*rows, *published), "molecule")


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="for each sampling seed")
    parser.add_argument("--sampling-seeds", type=int, nargs="+", default=list(SAMPLING_SEEDS))
    parser.add_argument("--sigma-max", type=float, default=SIGMA_MAX)
    parser.add_argument("--ablation", action="store_true", help="also of PONITA with one change")
    names = [*NETWORKS, *ABLATIONS]
    parser.add_argument("--only", nargs="+", choices=names, help="these rows alone")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
