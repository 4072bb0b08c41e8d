"""Sets larger than those of the training: the second smallest number, and two parities.

Protocol: 65 536 training sets of 1 to 16 numbers from 0 to 255, 1024 validation sets of 32, 1024
test sets of each size; the epoch with the least validation loss is tested; an answer is right if
all of its bits are. The parity of the size is asked of sizes n - 1 and n together. "One answer to
all" is the commonest answer. Every run of a question has the steps that took the same processor
time where they were timed (minutes: {minutes}; seeds: {seeds}), the network of
configs/second_minimum_monoid.yaml (64 channels) and, but for its aggregation and its learning rate,
the same recipe; the learning rate of each is the one of {rates} of least validation loss with seed
{first}. Operators and recipe were once chosen by short runs on other sets, test sets
of 200 among them; all sets here are drawn anew, with data seed {data_seed}, on which nothing but
the epoch and the learning rate was chosen, by validation. Published: Ong and Velickovic (LoG 2022),
after 1000 epochs at 128 channels; their learnt monoid is the Binary-GRU, with an associativity
loss. Measured rows have that name's operator in this network, not the published configuration.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/second_minimum.py [--minutes 1] [--seeds 0 1 2] [--tasks ...]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_sizes
from benchmarks.provenance import start
from benchmarks.rows import (
    RESULTS,
    Cell,
    Column,
    Row,
    Table,
    Value,
    joined,
    measured,
    over,
    read_result,
)
from benchmarks.tables import publish
from benchmarks.training import (
    QUIET,
    RUNS,
    budgeted,
    chosen_rate,
    fitted_here,
    measured_by,
    trained_here,
)
from geqlib.data import SetData
from geqlib.data.sets import OUT_BITS

NAME = "accuracy/second_minimum"
CONFIG = Path("configs/second_minimum_monoid.yaml")
CHANNELS = 64
SET_SIZES = [0, *[1] * 16]  # none of size 0, the same number of 1 to 16 each
TESTED = (2, 4, 8, 16, 32, 64, 100, 200, 400, 1000)
MINUTES = {"second_minimum": 1.0, "size_parity": 0.5, "bit_parity": 0.5}
RATES = (1e-3, 5e-3, 2e-2)
FIRST = 0  # seed by which learning rates are chosen
DATA_SEED = 2024
SEEDS = {"second_minimum": (0, 1, 2), "size_parity": (0,), "bit_parity": (0,)}
EXACT = {"second_minimum": "topk", "size_parity": "product", "bit_parity": "product"}
# accuracy on sets of 200
PUBLISHED = {
    "sum": 0.045,
    "max": 0.069,
    "PNA": 0.110,
    "GRU": 0.912,
    "monoid, Binary-GRU": 0.822,
}
SOURCE = "Ong and Veličković 2022, 128 channels"
CONSTANT = "one answer to all"
COLUMNS = tuple(Column(f"{n}", f"sets of {n}", "%", ".1f", 100) for n in (16, 32, 200, 1000))
Runs = dict[tuple[str, str], list[dict[str, Any]]]  # of each task and method, seed by seed


def methods(task: str) -> dict[str, Any]:
    """The aggregation of each row, as a configuration describes it."""
    peers = "benchmarks.peers.aggregations"
    ours = "geqlib.nn.MonoidAggregation"
    return {
        "sum": "sum",
        "max": "max",
        "PNA": _module(f"{peers}.PNAAggregation", channels=CHANNELS, degrees=SET_SIZES),
        "GRU": _module(f"{peers}.RecurrentAggregation", channels=CHANNELS),
        "GRU, swap": _module(f"{peers}.RecurrentAggregation", channels=CHANNELS, swap=0.1),
        "LCM of torch_geometric": _module(
            "torch_geometric.nn.aggr.LCMAggregation",
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            project=False,
        ),
        "monoid, Binary-GRU": _module(ours, channels=CHANNELS, operator="gru", assoc=0.05),
        "monoid, selection": _module(ours, channels=CHANNELS, operator="select"),
        "monoid, exact": _module(ours, channels=CHANNELS, operator=[EXACT[task]]),
        "monoid, exact mix": _module(ours, channels=CHANNELS, operator=["topk", "max", "product"]),
        "monoid, mixed": _module(ours, channels=CHANNELS, operator=["select", EXACT[task]]),
    }


def main() -> None:
    command = _arguments()
    done: Runs = {}
    for task in command.tasks:
        minutes = command.minutes or MINUTES[task]
        chosen = {k: v for k, v in methods(task).items() if k in (command.methods or methods(task))}
        options = {name: _options(task, aggr) for name, aggr in chosen.items()}
        runs = {f"{task}/{name}": (CONFIG, options[name]) for name in chosen}
        budget = budgeted("second-minimum", runs, minutes)
        changes = {name: options[name] | budget[f"{task}/{name}"] for name in chosen}
        rates = {name: searched_rate(task, name, changes[name], minutes) for name in chosen}
        for seed in command.seeds or SEEDS[task]:
            for name in chosen:
                run = trained_here(*_run(task, name, changes[name], rates[name], seed, minutes))
                done.setdefault((task, name), []).append(run | {"rate": rates[name]})
                write(done, command)


def searched_rate(task: str, name: str, changes: dict[str, object], minutes: float) -> float:
    """The learning rate of least validation loss, in full runs of the first seed, not tested."""
    folders = {
        rate: fitted_here(*_run(task, name, changes, rate, FIRST, minutes)) for rate in RATES
    }
    return chosen_rate(folders, "val/loss")


def write(done: Runs, command: argparse.Namespace) -> None:
    rows = [
        replace(own_row(*labels, cells(labels[0], runs)), **measured_by(runs))
        for labels, runs in done.items()
    ]
    tasks = list(dict.fromkeys(task for task, _ in done))
    rows += [own_row(task, CONSTANT, _constant(task)) for task in tasks]
    table = joined(NAME, compared(rows))
    order = [task.replace("_", " ") for task in OUT_BITS]
    table = replace(
        table, rows=tuple(sorted(table.rows, key=lambda row: order.index(row.labels[0])))
    )
    settings = earlier_settings()
    settings["minutes"] |= {task: command.minutes or MINUTES[task] for task in tasks}
    settings["seeds"] |= {task: command.seeds or SEEDS[task] for task in tasks}
    publish(measured(NAME, __doc__, [table], settings, "accuracy against set size"), draw(table))


def earlier_settings() -> dict[str, dict[str, Any]]:
    """Minutes and seeds of the tasks whose rows stay in the table."""
    if not (RESULTS / f"{NAME}.json").exists():
        return {"minutes": {}, "seeds": {}}
    settings = read_result(NAME).settings
    return {key: dict(settings[key]) for key in ("minutes", "seeds")}


def own_row(task: str, name: str, cells: dict[str, Cell]) -> Row:
    origin = "geqlib" if name.startswith("monoid") else "peer"
    setup = f"learning rate {cells['rate']:g}, {cells['steps']} steps" if "rate" in cells else ""
    return Row((task.replace("_", " "), name), cells, origin, setup)


def compared(rows: list[Row]) -> Table:
    published = (
        Row(
            ("second minimum", f"{name}, 128 channels"),
            {"200": accuracy},
            "published",
            source=SOURCE,
        )
        for name, accuracy in PUBLISHED.items()
    )
    return Table(("", "aggregation"), COLUMNS, (*rows, *published), "200")


def draw(table: Table) -> Figure:
    """Accuracy against size, a panel for each task."""
    panels: dict[str, dict[str, dict[float, Value]]] = {}
    for row in table.rows:
        task, name = row.labels
        sizes = {float(n): row.value(n) for n in row.cells if n.isdigit()}
        if row.origin != "published":
            panels.setdefault(task, {})[name] = sizes
    return draw_sizes(
        panels, x="size of the set", y="right answers", trained=(1, 16), logarithmic=True
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, help="of processor time per run")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--tasks", nargs="+", default=list(OUT_BITS), choices=list(OUT_BITS))
    parser.add_argument("--methods", nargs="+", choices=list(methods("second_minimum")))
    return parser.parse_args()


def _module(path: str, **arguments: object) -> dict[str, object]:
    return {"class_path": path, "init_args": arguments}


def _options(task: str, aggr: object) -> dict[str, object]:
    net = "model.init_args.model.init_args"
    return QUIET | {
        f"{net}.aggr": aggr,
        f"{net}.out_bits": OUT_BITS[task],
        "data.init_args.task": task,
        "data.init_args.data_seed": DATA_SEED,
        "data.init_args.test_sizes": _sizes(task),
    }


def _sizes(task: str) -> list[int]:
    # without the odd sizes before them, a constant would know the parity
    return sorted({m for n in TESTED for m in ((n - 1, n) if task == "size_parity" else (n,))})


def _run(
    task: str, name: str, options: dict[str, object], rate: float, seed: int, minutes: float
) -> tuple[Path, Path, dict[str, object], int]:
    """Folder, configuration, changes to it and seed."""
    words = name.replace(",", "").replace(" ", "-")
    folder = RUNS / f"sets-{task}-{words}-{minutes:g}min-lr{rate:g}-seed{seed}"
    return folder, CONFIG, options | {"model.init_args.lr": rate}, seed


def cells(task: str, runs: list[dict[str, Any]]) -> dict[str, Cell]:
    accuracy = [{n: run["metrics"][f"test/accuracy_{n}"] for n in _sizes(task)} for run in runs]
    return _by_size(task, accuracy) | {
        "parameters": runs[0]["fit"]["parameters"],
        "steps": runs[0]["fit"]["steps"],
        "epochs": runs[0]["fit"]["epochs"],
        "rate": runs[0]["rate"],
        "processor seconds": over([run["fit"]["processor_seconds"] for run in runs]),
    }


@cache
def _constant(task: Any) -> dict[str, Cell]:
    """The commonest answer of each size: the second numbers of large sets are much alike."""
    data = SetData(task=task, train=1, test_sizes=_sizes(task), data_seed=DATA_SEED)
    data.setup()
    shares = {}
    for n in _sizes(task):
        y = data.splits[f"test {n}"].y
        shares[n] = float(y.unique(dim=0, return_counts=True)[1].max()) / len(y)
        if task == "size_parity":
            shares[n] = float(n % 2)
    return _by_size(task, [shares])


def _by_size(task: str, runs: list[dict[int, float]]) -> dict[str, Cell]:
    """Mean and standard deviation over seeds for each size."""
    if task == "size_parity":
        runs = [{n: (run[n - 1] + run[n]) / 2 for n in TESTED} for run in runs]
    return {str(n): over([run[n] for run in runs]) for n in runs[0]}


if __name__ == "__main__":
    start(main)
