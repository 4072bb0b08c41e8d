"""Keep what `make demo` measured and drew for the README.

python benchmarks/demo.py
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown, small
from benchmarks.measure import write_result

TOP = Path(__file__).parents[1]


def main() -> None:
    write_result("demo", json.loads((TOP / "demo" / "nbody" / "results.json").read_text()))
    images = TOP / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in ("trajectories.png", "learning_curves.png"):
        shutil.copyfile(TOP / "demo" / name, images / name)


def table(found: dict[str, Any]) -> str:
    rows = [
        (name, small(r["mse"]), small(r["median"]), "") for name, r in found["baselines"].items()
    ]
    fit, metrics = found["fit"], found["metrics"]
    minutes = f"{fit['seconds'] / 60:.1f} minutes of training, {fit['parameters']} parameters"
    ours = ("**PONITA**", small(metrics["test/mse"]), small(metrics["test/median"]), minutes)
    return markdown(("", "test MSE", "median", ""), [*rows, ours])


if __name__ == "__main__":
    main()
