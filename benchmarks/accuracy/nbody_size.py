"""How small can the network be? Test error at equal training steps against the cost of a step.

Protocol: configs/nbody_ponita.yaml, seed 0, 10 epochs (300 steps) each; one thing changed at a
time around the default, and the published size beside it. Seconds a step are medians of one
interleaved run of forward and backward on one batch of 100 graphs.

    python benchmarks/accuracy/nbody_size.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown, small
from benchmarks.measure import RESULTS, interleaved, write_result
from benchmarks.training import RUNS, show, trained
from geqlib.data import NBodyData
from geqlib.models import PONITA
from geqlib.nn import LogGaussianBasis

CONFIG = Path("configs/nbody_ponita.yaml")
DEFAULT = {"channels": 32, "basis": 32, "layers": 4, "orientations": 12}
SIZES: dict[str, dict[str, int]] = {
    "as configured": {},
    "basis 8": {"basis": 8},
    "basis 16": {"basis": 16},
    "6 orientations": {"orientations": 6},
    "8 orientations": {"orientations": 8},
    "16 channels": {"channels": 16, "basis": 16},
    "factored": {"factored": True},
    "64 channels": {"channels": 64},
    "64 channels, factored": {"channels": 64, "factored": True},
    "128 channels": {"channels": 128, "basis": 64},
    "128 channels, factored": {"channels": 128, "basis": 64, "factored": True},
    "128 channels, 5 layers": {"channels": 128, "basis": 64, "layers": 5},
    "published size": {"channels": 128, "basis": 256, "layers": 5, "orientations": 16},
}
EPOCHS = 10


def main() -> None:
    errors = {name: _error(name, change) for name, change in SIZES.items()}
    seconds = interleaved({name: _step(change) for name, change in SIZES.items()}, 7)
    rows = {
        name: {
            "size": DEFAULT | change,
            "mse": errors[name]["metrics"]["test/mse"],
            "median": errors[name]["metrics"]["test/median"],
            "parameters": errors[name]["fit"]["parameters"],
            "seconds_a_step": seconds[name],
        }
        for name, change in SIZES.items()
    }
    show(
        f"Test error after {EPOCHS} epochs",
        ("", "MSE", "median", "parameters", "s / step"),
        [
            (n, f"{r['mse']:.5f}", f"{r['median']:.6f}", r["parameters"], r["seconds_a_step"])
            for n, r in rows.items()
        ],
    )
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    path = write_result("accuracy/nbody_size", {"protocol": protocol, "rows": rows})
    _draw(rows).savefig(RESULTS / "accuracy" / "nbody_size.png", dpi=150)
    sys.stdout.write(f"wrote {path}\n")


def _error(name: str, change: dict[str, int]) -> dict[str, Any]:
    prefix = "model.init_args.model.init_args."
    options = {prefix + key: value for key, value in change.items()}
    options |= {"trainer.max_epochs": EPOCHS, "trainer.enable_progress_bar": False}
    folder = RUNS / f"nbody-size-{name.replace(',', '').replace(' ', '-')}"
    return trained(folder, CONFIG, options, 0)


def _step(change: dict[str, int]) -> Callable[[], None]:
    data = NBodyData()
    data.prepare_data()
    data.setup()
    batch = data.splits["train"].__getitems__(range(100))
    net = PONITA(1, 1, 0, 1, radial=LogGaussianBasis(), **(DEFAULT | change))

    def step() -> None:
        net.zero_grad(set_to_none=True)
        vectors = net(batch.pos, batch.edge_index, x=batch.x, vec=batch.vec)[1]
        torch.mean(vectors**2).backward()

    return step


def _draw(rows: dict[str, dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for name, row in rows.items():
        below = "factored" in name
        axes.plot(row["seconds_a_step"], row["mse"], "s" if below else "o", color="#0072B2")
        axes.annotate(
            name,
            (row["seconds_a_step"], row["mse"]),
            xytext=(4, -11 if below else 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(xscale="log", xlabel="seconds a training step", ylabel="test MSE", xlim=(0.03, 1.2))
    ticks = [0.03, 0.1, 0.3, 1.0]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_title(f"PONITA on 5-body after {EPOCHS} epochs: error against cost")
    axes.grid(alpha=0.3)
    return figure


def table(found: dict[str, Any]) -> str:
    rows = [
        (name, small(r["mse"]), small(r["median"]), r["parameters"], f"{r['seconds_a_step']:.3f}")
        for name, r in found["rows"].items()
    ]
    return markdown(("", "test MSE", "median", "parameters", "s / step"), rows)


if __name__ == "__main__":
    main()
