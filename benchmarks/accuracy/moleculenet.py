"""Properties of molecules: a learnt aggregation beside torch_geometric's PNA and GIN.

Protocol: MoleculeNet's lipo and esol, scaffold split (80, 10 and 10 %, the same for every seed) or
random split (another one for every seed), five seeds; four residual layers of 64 channels (PNA 68,
in two towers; GIN with 320 inside its layers) with BatchNorm, bonds as edge features, mean readout,
and parameters within 3 % of each other; the same recipe and the same processor time for training
steps; the epoch with the best validation error is tested.

The result file is written after every run; runs that are complete are read.

    python benchmarks/accuracy/moleculenet.py [--minutes 0.75] [--splits scaffold] [--seeds 0 1 ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, summary, trained_here
from geqlib.data import MoleculeNetData

CONFIG = Path("configs/lipo_monoid.yaml")
SETS = ("lipo", "esol")
SPLITS = ("scaffold", "random")
METHODS = ("monoid", "PNA", "GIN")
WIDTHS = {"PNA": 68, "GIN": 64}  # that make parameters equal
Results = dict[str, list[dict[str, Any]]]  # of each method, seed by seed
ATOMS, BONDS = [119, 9, 11, 12, 9, 5, 8, 2, 2], [22, 6, 2]


def main() -> None:
    given = _arguments()
    found: dict[str, Results] = {}
    for name in given.sets:
        options = {method: _options(name, method) for method in METHODS}
        runs = {f"{name}/{method}": (CONFIG, options[method]) for method in METHODS}
        budget = budgeted("moleculenet", runs, given.minutes)
        for split in given.splits:
            results = found[f"{name}, {split}"] = {method: [] for method in METHODS}
            for seed in given.seeds:
                for method in METHODS:
                    changes = options[method] | budget[f"{name}/{method}"]
                    results[method].append(_run(name, split, method, changes, seed, given.minutes))
                    _write(found, given.minutes)
    for title, results in found.items():
        lines = [
            (method, _spread(row["rmse"]), _spread(row["mae"]), row["parameters"], row["epochs"])
            for method, row in _rows(results).items()
        ]
        show(title, ("", "RMSE", "MAE", "parameters", "epochs"), lines)


def table(found: dict[str, Any]) -> str:
    lines = [
        (title, method, _spread(row["rmse"]), _spread(row["mae"]), row["parameters"], row["epochs"])
        for title, rows in found["rows"].items()
        for method, row in rows.items()
    ]
    return markdown(("", "", "test RMSE", "test MAE", "parameters", "epochs"), lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.75, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", default=["scaffold"], choices=SPLITS)
    return parser.parse_args()


def _options(name: Literal["lipo", "esol"], method: str) -> dict[str, object]:
    options: dict[str, object] = {
        "data.init_args.name": name,
        "trainer.enable_progress_bar": False,
    }
    if method == "monoid":
        return options
    data = MoleculeNetData(name)
    data.prepare_data()
    data.setup()
    arguments = {
        "conv": method.lower(),
        "in_channels": ATOMS,
        "edge_dim": BONDS,
        "channels": WIDTHS[method],
        "degrees": data.degrees(),
    }
    path = "benchmarks.peers.molecule_gnn.MoleculeGNN"
    return options | {"model.init_args.model": {"class_path": path, "init_args": arguments}}


def _run(
    name: str, split: str, method: str, options: dict[str, object], seed: int, minutes: float
) -> dict[str, Any]:
    folder = RUNS / f"{name}-{split}-{method}-{minutes:g}min-seed{seed}"
    split_options = {"data.init_args.split": split, "data.init_args.data_seed": seed}
    return trained_here(folder, CONFIG, options | split_options, seed)


def _write(found: dict[str, Results], minutes: float) -> None:
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "minutes": minutes,
        "rows": {title: _rows(results) for title, results in found.items()},
    }
    write_result("accuracy/moleculenet", content)


def _rows(results: Results) -> dict[str, Any]:
    return {
        method: {
            "rmse": summary(runs, "test/rmse"),
            "mae": summary(runs, "test/mae"),
            "parameters": runs[0]["fit"]["parameters"],
            "epochs": runs[0]["fit"]["epochs"],
        }
        for method, runs in results.items()
        if runs
    }


def _spread(entry: dict[str, Any]) -> str:
    spread = "" if entry["std"] is None else f" ± {entry['std']:.3f}"
    return f"{entry['mean']:.3f}{spread}"


if __name__ == "__main__":
    main()
