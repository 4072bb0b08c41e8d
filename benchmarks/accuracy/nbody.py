"""PONITA on the charged 5-body benchmark, beside peers at equal processor time and published rows.

Protocol: {train} / {val} / {test} simulations, frame 30 to frame 40. geqlib's PONITA is
configs/nbody_ponita.yaml, {epochs} epochs (`make demo` trains 90, once); every peer takes
as many training steps as fit into the processor time of these on one thread, by one recipe: free
flight added to the prediction, root mean squared errors as the loss, one cosine schedule over all
steps, averaged weights (decay 0.995), and the validated epoch of least error. The learning rate of
each is the one of {rates} with the least validation error of seed {first}; seeds {seeds}. "PONITA
as published" keeps the loss, learning rate (1e-3), warm-up and weight decay of its paper, without
averaged weights, charge conjugation or free flight, in the time of the others. "New" are {new}
further simulations, seed {new_seed}, that nothing was trained or selected on. ± is the deviation
over seeds, in brackets the 95 % interval over simulations by the bootstrap, of the mean over seeds;
differences are paired, simulation by simulation. Of the published PONITA, geqlib's configuration
differs in the free-flight residual, charge conjugation, averaged weights, the learning rate, a
radial basis in log distance, the loss, the width (32), the fixed icosahedral grid of 12, and no
calibration of kernels. Published rows are from the papers, after up to 10 000 epochs.

Finished runs stay in runs/, and the result file is written after each method.

    python benchmarks/accuracy/nbody.py [--epochs 90] [--seeds 0 1 2] [--only EGNN ...]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Origin, Row, Table, joined, measured
from benchmarks.sampling import bootstrap, paired
from benchmarks.tables import publish
from benchmarks.training import (
    QUIET,
    RUNS,
    chosen_rate,
    finished,
    measured_by,
    schedule,
    step_seconds,
    trained,
)
from geqlib.data import NBodyData
from geqlib.files.checkpoint import read_checkpoint
from geqlib.train.runs.configuration import read_run
from geqlib.train.tasks.points import graph_errors

PONITA, PEER = Path("configs/nbody_ponita.yaml"), Path("configs/nbody_fagnn.yaml")
AS_PUBLISHED = Path("configs/nbody_ponita_published.yaml")
MODEL = "model.init_args.model"
DIRECT = "benchmarks.peers.ponita_direct.PublishedPONITA"
OURS = "geqlib PONITA"
TRAIN, VAL, TEST = 3000, 2000, 2000
EPOCHS, SEEDS = 90, (0, 1, 2)
FIRST = 0  # seed by which learning rates are chosen
RATES = (1e-3, 3e-3, 1e-2)
VALIDATIONS = 18  # of a run, as often as configs/nbody_ponita.yaml validates
NEW, NEW_SEED = 5000, 2024
AT_ONCE = 500
# configuration, changes to it, and learning rates to choose from
METHODS: dict[str, tuple[Path, dict[str, object], tuple[float, ...]]] = {
    OURS: (PONITA, {}, RATES),
    "geqlib FA-GNN": (PEER, {}, RATES),
    "EGNN": (PEER, {MODEL: {"class_path": "benchmarks.peers.egnn.EGNN"}}, RATES),
    "SEGNN-like (e3nn)": (PEER, {MODEL: {"class_path": "benchmarks.peers.segnn.SEGNN"}}, RATES),
    "published PONITA, this recipe": (PONITA, {MODEL: {"class_path": DIRECT}}, RATES),
    "PONITA as published": (AS_PUBLISHED, {MODEL: {"class_path": DIRECT}}, (1e-3,)),
}
PUBLISHED = {
    "EGNN": (0.0070, "Satorras et al. 2021"),
    "FA-GNN": (0.0057, "Puny et al. 2022"),
    "SEGNN": (0.0043, "Brandstetter et al. 2022"),
    "PONITA": (0.0043, "Bekkers et al. 2024"),
    "CGENN": (0.0039, "Ruhe et al. 2023"),
    "Multivector Neurons": (0.0035, "Liu, Ruhe and Forré 2024, arXiv 2406.04052; 3 runs"),
}
COLUMNS = (
    Column("mse", "test MSE", "", "error"),
    Column("median", "median", "", "error"),
    Column("new", "MSE of new simulations", "", "error"),
    Column("difference", "more than geqlib PONITA there", "", "error"),
    Column("parameters", "parameters"),
    Column("steps", "steps"),
)


def main() -> None:
    command = _arguments()
    steps = matched_steps(command.epochs)
    done: dict[str, list[dict[str, Any]]] = {}
    for name in METHODS:
        if name == OURS or name in (command.only or METHODS):
            rate = searched_rate(name, steps[name])
            done[name] = [run(name, steps[name], rate, seed) for seed in command.seeds]
            rows = [own_row(key, runs, done[OURS]) for key, runs in done.items()]
            table = joined("accuracy/nbody", compared([*baseline_rows(), *rows]))
            settings = vars(command) | {"rates": RATES}
            publish(measured("accuracy/nbody", __doc__, [in_order(table)], settings))


def matched_steps(epochs: int) -> dict[str, tuple[float, dict[str, float]]]:
    """Steps of each method in the processor time of geqlib's PONITA, and the timing."""
    timed = step_seconds(
        "nbody", {name: (path, QUIET | c) for name, (path, c, _) in METHODS.items()}
    )
    seconds = epochs * timed[OURS]["steps_an_epoch"] * timed[OURS]["step"]
    return {name: (seconds / timed[name]["step"], timed[name]) for name in METHODS}


def searched_rate(name: str, steps: tuple[float, dict[str, float]]) -> float:
    """The learning rate of least validation error; its runs are full ones of the first seed."""
    rates = METHODS[name][2]
    if len(rates) == 1:
        return rates[0]
    folders = {rate: run(name, steps, rate, FIRST)["folder"] for rate in rates}
    return chosen_rate(folders, "val/mse")


def run(name: str, steps: tuple[float, dict[str, float]], rate: float, seed: int) -> dict[str, Any]:
    """Results of a run, its folder, its learning rate and its errors."""
    config, changes, _ = METHODS[name]
    options = QUIET | changes | spaced(schedule(*steps)) | {"model.init_args.lr": rate}
    words = name.replace(",", "").replace("(", "").replace(")", "").replace(" ", "-")
    folder = RUNS / f"nbody-{words}-{steps[0]:.0f}steps-lr{rate:g}-seed{seed}"
    outcome = trained(folder, config, options, seed)
    errors = finished(f"{folder.name}-errors", partial(simulation_errors, folder))
    return outcome | {"folder": folder, "rate": rate, "errors": errors}


def spaced(options: Mapping[str, float]) -> dict[str, object]:
    """A schedule that validates as often as the others, last after the last epoch."""
    epochs, batches = options["trainer.max_epochs"], options["trainer.limit_train_batches"]
    every = max(round(epochs / VALIDATIONS), 1)
    whole = every * -(-epochs // every)
    return {
        "trainer.max_epochs": whole,
        "trainer.limit_train_batches": max(round(batches * epochs / whole), 1),
        "trainer.check_val_every_n_epoch": every,
    }


def simulation_errors(folder: Path) -> dict[str, list[float]]:
    """Mean squared errors of every test simulation and of every new one, by the best checkpoint."""
    task = read_run(folder / "config.yaml").task.eval()
    task.load_state_dict(read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"])
    charges = task.hparams.get("rotate") is False  # the recipe of networks that see products
    return {
        "test": _errors(task, NBodyData(charge_products=charges)),
        "new": _errors(task, new_simulations(charges)),
    }


def new_simulations(charge_products: bool = False) -> NBodyData:
    """The test split of another random stream."""
    return NBodyData(train=1, val=1, test=NEW, data_seed=NEW_SEED, charge_products=charge_products)


def _errors(task: Any, data: NBodyData) -> list[float]:
    data.prepare_data()
    data.setup()
    part, errors = data.splits["test"], []
    with torch.no_grad():
        for rows in torch.arange(len(part)).split(AT_ONCE):
            batch = part.__getitems__(rows.tolist())
            errors += graph_errors(task.predict_outputs(batch)["y"], batch).tolist()
    return errors


def own_row(name: str, runs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Row:
    """A row of measured runs, and how far it is from ours on the new simulations."""
    errors = {part: [run["errors"][part] for run in runs] for part in ("test", "new")}
    fit = runs[0]["fit"]
    cells: dict[str, Cell] = {
        "mse": bootstrap(errors["test"]),
        "median": bootstrap([[run["metrics"]["test/median"]] for run in runs]).mean,
        "new": bootstrap(errors["new"]),
        "new median": float(torch.tensor(errors["new"]).median()),
        "parameters": fit["parameters"],
        "steps": fit["steps"],
        "minutes": sum(run["fit"]["processor_seconds"] for run in runs) / 60 / len(runs),
        "rate": runs[0]["rate"],
    }
    if runs is not ours:
        cells["difference"] = paired([run["errors"]["new"] for run in ours], errors["new"])
    count = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
    setup = f"{count}, learning rate {cells['rate']:g}, {cells['minutes']:.1f} CPU minutes each"
    origin: Origin = "geqlib" if name.startswith("geqlib") else "peer"
    return Row((name,), cells, origin, setup, **measured_by([*runs, *(r["errors"] for r in runs)]))


def baseline_rows() -> list[Row]:
    """Predictors without a network, on the test split."""
    data = NBodyData()
    data.prepare_data()
    data.setup()
    return [
        Row((name,), {"mse": bootstrap([e.tolist()]), "median": float(e.median())}, "peer")
        for name, e in data.baselines().items()
    ]


def compared(rows: list[Row]) -> Table:
    published = (
        Row((name,), {"mse": error}, "published", source=source)
        for name, (error, source) in PUBLISHED.items()
    )
    return Table(("",), COLUMNS, (*rows, *published), "new")


def in_order(table: Table) -> Table:
    """Baselines, peers, published rows, then those of geqlib."""
    order = {"peer": 0, "published": 1, "geqlib": 2}
    rows = sorted(table.rows, key=lambda row: order[row.origin])
    return Table(table.heads, table.columns, tuple(rows), table.main)


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of geqlib's PONITA")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", choices=list(METHODS), help="beside geqlib's PONITA")
    return parser.parse_args()


if __name__ == "__main__":
    start(main)
