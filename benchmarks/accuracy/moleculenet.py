"""Properties of molecules: a learnt aggregation beside torch_geometric's PNA and GIN.

Protocol: MoleculeNet's lipo and esol, scaffold or random split (80, 10 and 10 %; the random split
changes with the seed, the scaffold split does not), five seeds; four residual layers of 64 channels
(PNA 68, in two towers; GIN with 320 inside its layers) with BatchNorm, bonds as edge features, mean
readout, and parameters within 3 % of each other; the same recipe and the same processor time for
training steps; the epoch with the best validation error is tested.

    python benchmarks/accuracy/moleculenet.py [--minutes 3] [--seeds 0 1 2 3 4] [--sets ...]
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
from benchmarks.training import RUNS, show, summary, trained
from geqlib.data import MoleculeNetData

CONFIG = Path("configs/lipo_monoid.yaml")
SETS = ("lipo", "esol")
SPLITS = ("scaffold", "random")
METHODS = ("monoid", "PNA", "GIN")
WIDTHS = {"PNA": 68, "GIN": 64}  # that make parameters equal
ATOMS, BONDS = [119, 9, 11, 12, 9, 5, 8, 2, 2], [22, 6, 2]


def main() -> None:
    given = _arguments()
    rows: dict[str, Any] = {}
    for name in given.sets:
        changes = {method: (CONFIG, _options(name, method)) for method in METHODS}
        runs = {f"{name}/{method}": run for method, run in changes.items()}
        budget = budgeted("moleculenet", runs, given.minutes)
        for split in given.splits:
            rows[f"{name}, {split}"] = {
                method: _row(
                    [
                        _run(name, split, method, options | budget[f"{name}/{method}"], s, given)
                        for s in given.seeds
                    ]
                )
                for method, (_, options) in changes.items()
            }
    for title, found in rows.items():
        lines = [
            (method, _spread(row["rmse"]), _spread(row["mae"]), row["parameters"], row["epochs"])
            for method, row in found.items()
        ]
        show(title, ("", "RMSE", "MAE", "parameters", "epochs"), lines)
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "seeds": given.seeds,
        "minutes": given.minutes,
        "rows": rows,
    }
    sys.stdout.write(f"wrote {write_result('accuracy/moleculenet', content)}\n")


def table(found: dict[str, Any]) -> str:
    lines = [
        (title, method, _spread(row["rmse"]), _spread(row["mae"]), row["parameters"], row["epochs"])
        for title, rows in found["rows"].items()
        for method, row in rows.items()
    ]
    return markdown(("", "", "test RMSE", "test MAE", "parameters", "epochs"), lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
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
    name: str,
    split: str,
    method: str,
    options: dict[str, object],
    seed: int,
    given: argparse.Namespace,
) -> dict[str, Any]:
    folder = RUNS / f"{name}-{split}-{method}-{given.minutes:g}min-seed{seed}"
    split_options = {"data.init_args.split": split, "data.init_args.data_seed": seed}
    return trained(folder, CONFIG, options | split_options, seed)


def _row(results: list[dict[str, Any]]) -> dict[str, Any]:
    fit = results[0]["fit"]
    return {
        "rmse": summary(results, "test/rmse"),
        "mae": summary(results, "test/mae"),
        "parameters": fit["parameters"],
        "epochs": fit["epochs"],
    }


def _spread(entry: dict[str, Any]) -> str:
    spread = "" if entry["std"] is None else f" ± {entry['std']:.3f}"
    return f"{entry['mean']:.3f}{spread}"


if __name__ == "__main__":
    main()
