"""A property of QM9: PONITA beside torch_geometric's SchNet at equal processor time.

Protocol: the usual split, 110 000 molecules for training, 10 000 for validation, the rest for
testing; configs/qm9_ponita.yaml, and SchNet with the defaults of torch_geometric (128
channels, 6 interactions, cutoff 10 angstrom) by the same recipe: L1 loss on the standardised
target, batches of 32, one cosine schedule over training steps of 20 minutes of processor time,
averaged weights; the best epoch of validation is tested; one seed, one thread. Published PONITA
trained for 1000 epochs.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/qm9.py [--minutes 20]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, trained

CONFIG = Path("configs/qm9_ponita.yaml")
SCHNET = {
    "model.init_args.model": {"class_path": "benchmarks.peers.schnet.GivenEdgesSchNet"},
    "model.init_args.lr": 1e-3,
    "model.init_args.rotate": False,
    "data.init_args.cutoff": 10.0,
}
CHANGES: dict[str, dict[str, object]] = {"geqlib PONITA": {}, "PyG SchNet": SCHNET}
PUBLISHED = {"alpha": 0.0375}


def main() -> None:
    given = _arguments()
    quiet = {"trainer.enable_progress_bar": False}
    runs = {name: (CONFIG, quiet | options) for name, options in CHANGES.items()}
    budget = budgeted("qm9-alpha", runs, given.minutes)
    rows = {}
    for name in given.only or runs:
        folder = RUNS / f"qm9-alpha-{name.split()[1]}-{given.minutes:g}min"
        found = trained(folder, CONFIG, runs[name][1] | budget[name], 0)
        fit = found["fit"]
        rows[name] = {
            "mae": found["metrics"]["test/mae"],
            "parameters": fit["parameters"],
            "molecules": fit["steps"] * 32,
            "minutes": fit["processor_seconds"] / 60,
        }
    lines = [(name, *row.values()) for name, row in rows.items()]
    show("alpha, test MAE in a0^3", ("", "MAE", "parameters", "molecules", "minutes"), lines)
    if given.only:
        return
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "minutes": given.minutes,
        "rows": rows,
        "published": PUBLISHED,
    }
    sys.stdout.write(f"wrote {write_result('accuracy/qm9', content)}\n")


def table(found: dict[str, Any]) -> str:
    lines: list[tuple[object, ...]] = [
        (
            f"**{name}**",
            f"{row['mae']:.3f}",
            f"measured, {row['minutes']:.0f} minutes of one core, validation included; "
            f"{row['molecules']} molecules seen",
        )
        for name, row in found["rows"].items()
    ]
    lines += [("PONITA", error, "published") for error in found["published"].values()]
    return markdown(("", "alpha, test MAE in a0³", ""), lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of processor time a run")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), help="make these runs alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
