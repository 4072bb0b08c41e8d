"""FA-GNN beside PONITA on the charged 5-body benchmark, at equal processor time.

Protocol: configs/nbody_fagnn.yaml and configs/nbody_ponita.yaml, 3000 / 2000 / 2000 simulations,
frame 30 to frame 40; one cosine schedule over training steps of 4 minutes of processor time each,
averaged weights, validation every 5 epochs on top; the best epoch of validation is tested; seed 0,
one thread. Published FA-GNN trained for 10 000 epochs.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/nbody_frames.py [--minutes 4]
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown, small
from benchmarks.measure import RESULTS, write_result
from benchmarks.training import RUNS, show, trained
from geqlib.report.figures import STYLE, colour, save_figure

CONFIGS = {"FA-GNN": Path("configs/nbody_fagnn.yaml"), "PONITA": Path("configs/nbody_ponita.yaml")}
PUBLISHED = {"EGNN": 0.0071, "FA-GNN": 0.0057}
HEAD = ("", "test MSE", "median", "parameters", "steps", "minutes of one core")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="of processor time a run")
    given = parser.parse_args()
    quiet = {"trainer.enable_progress_bar": False}
    budget = budgeted(
        "nbody-frames", {name: (path, quiet) for name, path in CONFIGS.items()}, given.minutes
    )
    rows = {}
    for name, config in CONFIGS.items():
        folder = RUNS / f"nbody-frames-{name}-{given.minutes:g}min"
        found = trained(folder, config, quiet | budget[name], 0)
        rows[name] = {
            "mse": found["metrics"]["test/mse"],
            "median": found["metrics"]["test/median"],
            "parameters": found["fit"]["parameters"],
            "steps": found["fit"]["steps"],
            "minutes": found["fit"]["processor_seconds"] / 60,
            "curve": curve(folder),
        }
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "minutes": given.minutes,
        "rows": rows,
        "published_mse": PUBLISHED,
    }
    show("Charged 5-body at equal processor time", HEAD, _rows(content))
    draw(rows, RESULTS / "accuracy" / "nbody_frames.png")
    sys.stdout.write(f"wrote {write_result('accuracy/nbody_frames', content)}\n")


def curve(folder: Path) -> list[tuple[float, float]]:
    """Minutes of the processor, and validation error, of every validation."""
    found: list[tuple[float, float]] = []
    minutes = 0.0
    for path in sorted(folder.glob("metrics/version_*/metrics.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                minutes = float(row.get("processor_minutes") or minutes)
                if row.get("val/mse"):
                    found.append((minutes, float(row["val/mse"])))
    return found


def draw(rows: dict[str, Any], path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for k, (name, row) in enumerate(rows.items()):
            minutes, errors = zip(*row["curve"], strict=True)
            axes.plot(minutes, errors, label=name, color=colour(k))
            axes.plot(row["minutes"], row["mse"], "o", color=colour(k))
        axes.set(yscale="log", xlabel="minutes of one core", ylabel="validation MSE; dots: test")
        axes.set_title("Charged 5-body: error against processor time")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        save_figure(figure, path)


def table(found: dict[str, Any]) -> str:
    return markdown(HEAD, _rows(found))


def _rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    ours = [
        (
            f"**geqlib {name}**",
            small(row["mse"]),
            small(row["median"]),
            row["parameters"],
            row["steps"],
            f"{row['minutes']:.1f}",
        )
        for name, row in found["rows"].items()
    ]
    known = [
        (f"{name}, published", small(mse), "", "", "", "")
        for name, mse in found["published_mse"].items()
    ]
    return [*ours, *known]


if __name__ == "__main__":
    main()
