"""PONITA on the charged 5-body benchmark, three seeds, beside baselines and published numbers.

Protocol: configs/nbody_ponita.yaml (what `make demo` runs) with seeds 0, 1, 2; 3000 / 2000 / 2000
simulations, frame 30 to frame 40; the epoch with the best validation error under averaged weights
is tested once. Published rows are from the papers, after up to 10 000 epochs.

    python benchmarks/accuracy/nbody.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown, small, spread
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, summary, trained

CONFIG = Path("configs/nbody_ponita.yaml")
SEEDS = (0, 1, 2)
PUBLISHED = {"EGNN": 0.0070, "FA-GNN": 0.0057, "SEGNN": 0.0043, "PONITA": 0.0043, "CGENN": 0.0039}


def main() -> None:
    results = [trained(RUNS / f"nbody-seed{s}", CONFIG, {}, s) for s in SEEDS]
    mse, median = summary(results, "test/mse"), summary(results, "test/median")
    minutes = [r["fit"]["seconds"] / 60 for r in results]
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "seeds": SEEDS,
        "mse": mse,
        "median": median,
        "minutes": minutes,
        "fit": results[0]["fit"],
        "trained_on": results[0]["environment"],
        "baselines": results[0]["baselines"],
        "published_mse": PUBLISHED,
    }
    rows: list[tuple[object, ...]] = [
        (name, error["mse"], error["median"], "measured, same test set")
        for name, error in results[0]["baselines"].items()
    ]
    rows += [(name, error, "", "published") for name, error in PUBLISHED.items()]
    rows.append(
        (
            f"geqlib PONITA, {len(SEEDS)} seeds",
            f"{mse['mean']:.5f} ± {mse['std']:.5f}",
            f"{median['mean']:.6f}",
            f"measured, {max(minutes):.1f} minutes of training at most",
        )
    )
    show("Charged 5-body, test error", ("", "MSE", "median", ""), rows)
    sys.stdout.write(f"wrote {write_result('accuracy/nbody', content)}\n")


def table(found: dict[str, Any]) -> str:
    minutes = ", ".join(f"{m:.1f}" for m in found["minutes"])
    cores = found["trained_on"]["threads"]
    ours = f"measured, {len(found['seeds'])} seeds, {minutes} minutes on {cores} core(s)"
    rows: list[tuple[object, ...]] = [
        (name, small(r["mse"]), small(r["median"]), "measured")
        for name, r in found["baselines"].items()
    ]
    rows += [(name, small(mse), "", "published") for name, mse in found["published_mse"].items()]
    rows.append(("**geqlib PONITA**", spread(found["mse"]), small(found["median"]["mean"]), ours))
    return markdown(("", "test MSE", "median", ""), rows)


if __name__ == "__main__":
    main()
