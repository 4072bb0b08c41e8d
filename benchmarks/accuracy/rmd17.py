"""Aspirin of revised MD17: the error of forces against processor time.

Protocol: configs/rmd17_gaunt.yaml and configs/rmd17_ponita.yaml, the latter for 60
minutes of processor time, seed 0, one thread: 950 frames for training and 50 for
validation of the 1200 at hand, tested on the 1800 frames of the test file with averaged weights of
the epoch of lowest force error in validation. Published rows: 950 / 50 frames, thousands of
epochs, tested on the rest of 100 000; "positions alone" is the paper's network without
orientations.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/rmd17.py [RUN ...]

With RUN, gaunt or ponita, that row alone is measured.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import RESULTS, read_result, write_result
from benchmarks.training import RUNS, show, trained

RUNS_OF = {"gaunt": "geqlib GauntNet", "ponita": "geqlib PONITA"}
COLOURS = {"geqlib GauntNet": "#009E73", "geqlib PONITA": "#0072B2"}
PUBLISHED = {
    "PONITA": (1.7, 5.8),
    "NequIP": (2.3, 8.2),
    "PONITA, positions alone": (4.7, 16.3),
}


def main() -> None:
    chosen = sys.argv[1:] or list(RUNS_OF)
    path = RESULTS / "accuracy/rmd17.json"
    rows = read_result("accuracy/rmd17")["rows"] if path.exists() else {}
    rows |= {RUNS_OF[run]: measured(run) for run in chosen}
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "rows": rows,
        "published": PUBLISHED,
    }
    lines = [(name, _pair(row["errors"]), f"{row['minutes']:.0f}") for name, row in rows.items()]
    show("aspirin, MAE", ("", "meV / meV/angstrom", "minutes of one core"), lines)
    write_result("accuracy/rmd17", content)
    draw(content).savefig(path.with_suffix(".png"), dpi=150)
    sys.stdout.write(f"wrote {path}\n")


def measured(run: str) -> dict[str, Any]:
    folder, config = RUNS / f"rmd17-aspirin-{run}", Path(f"configs/rmd17_{run}.yaml")
    found = trained(folder, config, {"trainer.enable_progress_bar": False}, 0)
    metrics, fit = found["metrics"], found["fit"]
    return {
        "errors": [metrics["test/energy_mae"], metrics["test/forces_mae"]],
        "minutes": fit["processor_seconds"] / 60,
        "parameters": fit["parameters"],
        "curve": _curve(folder),
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        (f"**{name}**", _pair(row["errors"]), f"measured, {row['minutes']:.0f} minutes of one core")
        for name, row in found["rows"].items()
    ]
    rows += [(name, _pair(pair), "published") for name, pair in found["published"].items()]
    return markdown(("aspirin", "energy / force MAE, meV and meV/Å", ""), rows)


def draw(found: dict[str, Any]) -> Figure:
    """Validation error against minutes of training."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, row in found["rows"].items():
        axes.plot(*zip(*row["curve"], strict=True), color=COLOURS[name], label=name)
    for (name, (_, forces)), style in zip(
        found["published"].items(), (":", "-.", "--"), strict=True
    ):
        axes.axhline(forces, color="0.4", linestyle=style, label=f"{name}, published")
    axes.set(yscale="log", xlabel="minutes of one core", ylabel="force MAE, meV/Å, validation")
    axes.set_title("Aspirin of revised MD17: error against processor time")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def _curve(folder: Path) -> list[tuple[float, float]]:
    (path,) = sorted((folder / "metrics").glob("*/metrics.csv"))[-1:]
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/forces_mae")]
    return [(float(row["processor_minutes"]), float(row["val/forces_mae"])) for row in rows]


def _pair(errors: tuple[float, float]) -> str:
    return f"{errors[0]:.1f} / {errors[1]:.1f}"


if __name__ == "__main__":
    main()
