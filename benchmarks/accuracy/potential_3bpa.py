"""Energies and forces of 3BPA at 300 K: GauntNet, PONITA and MACE, 20 minutes of two cores each.

Protocol: configs/3bpa_gaunt.yaml and configs/3bpa_ponita.yaml, seed 0, whose epochs fit into 40
minutes of processor time, and MACE (32x0e + 32x1o, max_ell 2, correlation 3, two interactions,
batch 5, learning rate 0.01, EMA 0.99) by its own command for as many; processor time, validation
included, because a machine may have other work. The same 450 / 50 frames of train_300K, one thread
each; all tested with averaged weights on the 1669 frames of test_300K and, out of distribution, on
train_mixedT, ours from their epochs of lowest force error in validation. Published rows used all of
the 2000 epochs.

    make peers
    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/potential_3bpa.py [RUN]

With RUN, gaunt, ponita or mace, only that run is made: two of them can go side by side.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.peers import mace
from benchmarks.training import RUNS, show, trained
from geqlib.data import MoleculeData

CONFIGS = {name: Path(f"configs/3bpa_{name}.yaml") for name in ("gaunt", "ponita")}
MINUTES = 40  # of processor time
FRAMES = {"300 K": "3bpa/test_300K.xyz.xz", "mixed": "3bpa/train_mixedT.xyz.xz"}
PUBLISHED = {"MACE": (3.0, 8.8), "NequIP": (3.3, 10.8), "MACE-Gaunt": (2.9, 9.2)}


def main() -> None:
    makers = {
        "gaunt": ("geqlib GauntNet", lambda: _ours("gaunt")),
        "ponita": ("geqlib PONITA", lambda: _ours("ponita")),
    }
    if mace.available():
        makers["mace"] = ("MACE", _mace)
    if sys.argv[1:]:
        makers[sys.argv[1]][1]()
        return
    rows = {name: make() for name, make in makers.values()}
    show(
        "3BPA, RMSE of energy in meV and of forces in meV/angstrom",
        ("", *FRAMES, "minutes of one core"),
        [(n, *map(_pair, r["errors"].values()), f"{r['minutes']:.1f}") for n, r in rows.items()],
    )
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    content = {"protocol": protocol, "rows": rows, "published": PUBLISHED}
    path = write_result("accuracy/potential_3bpa", content)
    draw(rows).savefig(path.with_suffix(".png"), dpi=150)
    sys.stdout.write(f"wrote {path}\n")


def table(found: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [
        (
            f"**{name}**",
            *map(_pair, row["errors"].values()),
            f"measured, {row['minutes'] / 2:.0f} minutes of 2 cores",
        )
        for name, row in found["rows"].items()
    ]
    rows += [(name, _pair(pair), "", "published") for name, pair in found["published"].items()]
    return markdown(("energy / force RMSE, meV and meV/Å", *FRAMES, ""), rows)


def draw(rows: dict[str, Any]) -> Figure:
    """Validation error against minutes of training."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for (name, row), colour in zip(rows.items(), ("#009E73", "#0072B2", "#D55E00"), strict=False):
        minutes, errors = zip(*row["curve"], strict=True)
        axes.plot(minutes, errors, label=name, color=colour)
    axes.set(yscale="log", xlabel="minutes of one core", ylabel="force RMSE, meV/Å, validation")
    axes.set_title("3BPA at 300 K: error against processor time")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def _ours(name: str) -> dict[str, Any]:
    folder, options = RUNS / f"3bpa-{name}", {"trainer.enable_progress_bar": False}
    runs = {
        frames: trained(
            folder,
            CONFIGS[name],
            options,
            0,
            None if frames == "300 K" else {"data.init_args.test": path},
        )
        for frames, path in FRAMES.items()
    }
    fit = runs["300 K"]["fit"]
    return {
        "errors": {frames: _errors(run["metrics"]) for frames, run in runs.items()},
        "curve": _curve(folder),
        "parameters": fit["parameters"],
        "minutes": fit["processor_seconds"] / 60,
    }


def _mace() -> dict[str, Any]:
    train = "3bpa/train_300K.xyz.xz"
    data = {
        name: MoleculeData(train, 50, path, reference_file="3bpa/iso_atoms.xyz", cutoff=5.0)
        for name, path in FRAMES.items()
    }
    for part in data.values():
        part.setup()
    splits = {part: mace.frames(data["300 K"], part) for part in ("train", "val")}
    splits["test"] = [
        atoms for name in FRAMES for atoms in mace.frames(data[name], "test", _word(name))
    ]
    folder = RUNS / "3bpa-mace"
    found = mace.train(folder, splits, data["300 K"].reference_energies, MINUTES)
    errors = {name: found["test"][_word(name)] for name in FRAMES}
    return {"errors": errors, "curve": found["curve"], "minutes": found["curve"][-1][0]}


def _word(name: str) -> str:
    return name.replace(" ", "")


def _errors(metrics: dict[str, float]) -> tuple[float, float]:
    return metrics["test/energy_rmse"], metrics["test/forces_rmse"]


def _pair(errors: tuple[float, float]) -> str:
    return f"{errors[0]:.1f} / {errors[1]:.1f}"


def _curve(folder: Path) -> list[tuple[float, float]]:
    (path,) = sorted((folder / "metrics").glob("*/metrics.csv"))[-1:]
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/forces_rmse")]
    return [(float(row["processor_minutes"]), float(row["val/forces_rmse"])) for row in rows]


if __name__ == "__main__":
    main()
