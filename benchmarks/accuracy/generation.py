"""Molecules of QM9 by diffusion: PONITA beside EGNN and a transformer at equal processor time.

Protocol: the split of EDM (Hoogeboom et al. 2022), 100 000 molecules for training;
configs/qm9_generation_ponita.yaml with the smaller networks of this file, whose parameters are
equal within 10 %, batches of {batch}, averaged weights (decay {ema}), rotated training molecules,
one cosine schedule over the training steps that took {minutes} minutes of processor time on one
thread; the epoch of least validation loss on {val} molecules is sampled; seed {seed}. All take the
same preconditioning, loss, noise and sampler: Heun, 40 levels from sigma_max to 0.002, churn 10.
Scores are those of {samples} samples by the rules of EDM, ± the deviation over sampling seeds
{sampling_seeds}; molecules that end in NaN count as failures. Published rows were trained a
thousand times as long and are scores of 10 000 samples.

Finished runs and batches of samples stay in runs/. With --overfit 50, PONITA is trained on 50
molecules alone for these minutes, and the scores of its samples are printed, to prove the
machinery: at least 90 % of molecules should be stable.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/generation.py [--minutes 45]
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured, over
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, budgeted, finished, fitted, measured_by
from geqlib.data import QM9Generation
from geqlib.files.checkpoint import trusting
from geqlib.generation import Molecules
from geqlib.train.run import read_run
from geqlib.train.samples import SampleSettings, complete_samples, load_diffusion
from geqlib.train.tasks.diffusion import scores_of

CONFIG = Path("configs/qm9_generation_ponita.yaml")
MODEL = "model.init_args.model.init_args.network"
PEERS = "benchmarks.peers.denoisers"
FEATURES = {"in_scalars": 6, "out_scalars": 5}
MINUTES, SEED, SAMPLES, SAMPLING_SEEDS = 45.0, 0, 1000, (0, 1, 2)
BATCH, EMA, VAL = 64, 0.999, 960
LEARNING_RATE = 2e-3  # for few molecules; the configuration's is for all
NETWORKS: dict[str, dict[str, Any]] = {
    "geqlib PONITA": {
        "class_path": "geqlib.models.PONITA",
        "init_args": {
            **FEATURES,
            "in_vectors": 1,
            "out_vectors": 1,
            "channels": 64,
            "basis": 32,
            "layers": 5,
        },
    },
    "EGNN": {
        "class_path": f"{PEERS}.DenoisingEGNN",
        "init_args": {**FEATURES, "channels": 82, "layers": 4},
    },
    "transformer, not equivariant": {
        "class_path": f"{PEERS}.DenoisingTransformer",
        "init_args": {**FEATURES, "channels": 64, "layers": 4},
    },
}
OURS = next(iter(NETWORKS))
COLUMNS = (
    Column("molecule", "molecule stability", "%", ".1f"),
    Column("atom", "atom stability", "%", ".2f"),
    Column("valid", "valid", "%", ".1f"),
    Column("valid and unique", "valid and unique", "%", ".1f"),
    Column("dropped", "NaN", "%", ".1f"),
    Column("parameters", "parameters"),
    Column("rate", "steps a second", "", ".2f"),
)
# atom and molecule stability, valid, valid and unique, in %
PUBLISHED = {
    "EDM": ((98.7, 82.0, 91.9, 90.7), "Hoogeboom et al. 2022"),
    "GeoLDM": ((98.9, 89.4, 93.8, 92.7), "Xu et al. 2023"),
}


def main() -> None:
    command = _arguments()
    if command.overfit:
        sys.stdout.write(f"{overfitted(command.overfit, command.minutes, command.samples)}\n")
        return
    runs = {name: (CONFIG, options(name)) for name in NETWORKS}
    budget = budgeted("generation", runs, command.minutes)
    rows: list[Row] = []
    for name in command.only or runs:
        folder = RUNS / f"generation-{name.split()[-1]}-{command.minutes:g}min"
        fitted(folder, CONFIG, runs[name][1] | budget[name], SEED)
        for sigma_max in command.sigma_max:
            scores = [
                sampled(folder, command.samples, seed, sigma_max) for seed in command.sampling_seeds
            ]
            rows.append(own_row(name, sigma_max, folder, scores))
    if not command.only:
        publish(measured("accuracy/generation", __doc__, [compared(rows)], vars(command)))


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


def sampled(folder: Path, count: int, seed: int, sigma_max: float) -> dict[str, Any]:
    """Scores of samples of the best checkpoint of a run, which are kept beside it."""
    name = f"{folder.name}/samples-{count}-sigma{sigma_max:g}-seed{seed}"
    return finished(name, partial(_sampled, folder, count, seed, sigma_max, RUNS / name))


def _sampled(folder: Path, count: int, seed: int, sigma_max: float, parts: Path) -> dict[str, Any]:
    checkpoint = folder / "checkpoints" / "best.ckpt"
    with trusting(PEERS):
        task = load_diffusion(checkpoint)
    settings = SampleSettings(seed, sampler=replace(task.sampler, sigma_max=sigma_max))
    molecules = complete_samples(
        task, checkpoint, parts, count, settings, progress=partial(track, description=parts.name)
    )
    return percentages(molecules)


def percentages(molecules: Molecules) -> dict[str, float]:
    scores = scores_of(molecules)
    return {
        "molecule": 100 * scores.molecule_stability,
        "atom": 100 * scores.atom_stability,
        "valid": 100 * (scores.validity or 0.0),
        "valid and unique": 100 * (scores.unique or 0) / scores.molecules,
        "dropped": 100 * float(molecules.dropped.double().mean()),
    }


def own_row(name: str, sigma_max: float, folder: Path, scores: list[dict[str, Any]]) -> Row:
    fit = json.loads((folder / "fit.json").read_text())
    cells: dict[str, Cell] = {
        column.key: over([score[column.key] for score in scores]) for column in COLUMNS[:5]
    }
    cells |= {"parameters": fit["parameters"], "steps": fit["steps"]}
    cells["rate"] = fit["steps"] / fit["processor_seconds"]
    minutes = fit["processor_seconds"] / 60
    setup = f"sigma_max {sigma_max:g}, {fit['steps']} steps in {minutes:.0f} CPU minutes"
    origin = "geqlib" if name == OURS else "peer"
    return Row((name, f"{sigma_max:g}"), cells, origin, setup, **measured_by(scores))


def compared(rows: list[Row]) -> Table:
    published = []
    for name, (values, source) in PUBLISHED.items():
        keys = ("atom", "molecule", "valid", "valid and unique")
        cells: dict[str, Cell] = dict(zip(keys, values, strict=True))
        published.append(Row((name, ""), cells, "published", source=source))
    return Table(("", "sigma_max"), COLUMNS, (*rows, *published), "molecule")


def overfitted(molecules: int, minutes: float, samples: int) -> str:
    """Scores of samples after training on a few molecules alone, with averaged weights."""
    torch.manual_seed(SEED)
    data = QM9Generation("EDM", num_train=molecules)
    data.setup()
    task: Any = read_run(CONFIG, options(OURS)).task
    counts = data.splits["train"].counts["node"]
    task.histogram = {int(n): int((counts == n).sum()) for n in counts.unique()}
    batch: Any = data.splits["train"].__getitems__(range(molecules))
    batch.plan = task.denoiser.plan(batch.edge_index, len(batch.pos), batch.reverse)
    task.check_batch(batch)
    optimizer = torch.optim.AdamW(task.parameters(), lr=LEARNING_RATE)
    averaged = AveragedModel(task.model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    begin, steps = time.process_time(), 0
    while (spent := (time.process_time() - begin) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - spent)
        optimizer.zero_grad()
        loss = task.loss(task.rotated(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 0.5)
        optimizer.step()
        averaged.update_parameters(task.model)
        steps += 1
    task.model.load_state_dict(averaged.module.state_dict())
    task.eval()
    parts = [range(k, min(k + 100, samples)) for k in range(0, samples, 100)]
    drawn = Molecules.joined([task.sample(part) for part in track(parts, "samples")])
    scores = scores_of(drawn, validity=False)
    return f"{steps} steps, last loss {float(loss.detach()):.3f}\n{scores}"


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of processor time per run")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="for each sampling seed")
    parser.add_argument("--sampling-seeds", type=int, nargs="+", default=list(SAMPLING_SEEDS))
    parser.add_argument("--sigma-max", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), help="train these alone")
    parser.add_argument("--overfit", type=int, metavar="MOLECULES", help="train on these alone")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
