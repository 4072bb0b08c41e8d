"""Digits as point clouds in the plane: trained upright, tested turned by random angles.

Protocol: scikit-learn's 1797 digits (70 / 15 / 15 %, by class); 15 epochs, no augmentation, seeds 0
and 1; the epoch with the lowest validation loss under averaged weights is tested, upright and
turned. PONITA on R^2 x S^1 (8 orientations) and on R^2, and a plain PointNet, about as
many parameters.

    python benchmarks/accuracy/digits.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, summary, trained
from benchmarks.variants import options

PONITA, POINTNET = Path("configs/digits_ponita.yaml"), Path("configs/digits_pointnet.yaml")
CONFIGS = {
    "PONITA R2xS1": (PONITA, {}),
    "PONITA R2": (PONITA, options(PONITA, "R2")),
    "PointNet": (POINTNET, {}),
}
SEEDS = (0,)


def main() -> None:
    rows: dict[str, Any] = {}
    for name in CONFIGS:
        runs = {turn: [_run(name, s, turn) for s in SEEDS] for turn in ("none", "random")}
        rows[name] = {
            "upright": summary(runs["none"], "test/accuracy"),
            "turned": summary(runs["random"], "test/accuracy"),
            "parameters": runs["none"][0]["fit"]["parameters"],
            "seconds": runs["none"][0]["fit"]["seconds"],
        }
    show(
        f"Digits, test accuracy, mean of {len(SEEDS)} seeds",
        ("", "upright", "turned", "parameters"),
        [
            (name, f"{r['upright']['mean']:.3f}", f"{r['turned']['mean']:.3f}", r["parameters"])
            for name, r in rows.items()
        ],
    )
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    path = write_result("accuracy/digits", {"protocol": protocol, "seeds": SEEDS, "rows": rows})
    sys.stdout.write(f"wrote {path}\n")


def _run(name: str, seed: int, turn: str) -> dict[str, Any]:
    config, changes = CONFIGS[name]
    folder = RUNS / f"digits-{name.replace(' ', '-')}-seed{seed}"
    return trained(
        folder,
        config,
        changes | {"trainer.enable_progress_bar": False},
        seed,
        tested={"data.init_args.test_rotation": turn},
    )


def table(found: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{100 * r['upright']['mean']:.1f} %",
            f"{100 * r['turned']['mean']:.1f} %",
            r["parameters"],
        )
        for name, r in found["rows"].items()
    ]
    return markdown(("", "upright", "turned", "parameters"), rows)


if __name__ == "__main__":
    main()
