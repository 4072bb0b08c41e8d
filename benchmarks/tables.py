"""Write the tables of the documents from benchmarks/results.

python benchmarks/tables.py            # rewrite README.md and docs/*.md
python benchmarks/tables.py --check    # exit code 1 if a table is not what the files say
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
RESULTS = TOP / "benchmarks" / "results"
DOCUMENTS = ("README.md", "docs/ponita.md")
MARKS = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    stale = [name for name in DOCUMENTS if _rewritten(name) != (TOP / name).read_text()]
    if "--check" in sys.argv:
        sys.stdout.writelines(f"{name} disagrees with benchmarks/results\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (TOP / name).write_text(_rewritten(name))
    return 0


def _rewritten(name: str) -> str:
    text = (TOP / name).read_text()
    return MARKS.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def _read(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _error(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1e}"


def _spread(entry: dict[str, Any]) -> str:
    if entry["std"] is None:
        return _error(entry["mean"])
    return f"{entry['mean']:.5f} ± {entry['std']:.5f}"


def _demo() -> str:
    found = _read("demo")
    rows = [
        (name, _error(r["mse"]), _error(r["median"]), "") for name, r in found["baselines"].items()
    ]
    fit, metrics = found["fit"], found["metrics"]
    minutes = f"{fit['seconds'] / 60:.1f} minutes of training, {fit['parameters']} parameters"
    rows.append(
        ("**PONITA**", _error(metrics["test/mse"]), _error(metrics["test/median"]), minutes)
    )
    return _table(("", "test MSE", "median", ""), rows)


def _nbody() -> str:
    found = _read("nbody")
    threads = found["trained_on"]["threads"]
    minutes = ", ".join(f"{m:.1f}" for m in found["minutes"])
    rows = [
        (name, _error(r["mse"]), _error(r["median"]), "measured")
        for name, r in found["baselines"].items()
    ]
    rows += [(name, _error(e), "", "published") for name, e in found["published_mse"].items()]
    ours = f"measured, {len(found['seeds'])} seeds, {minutes} minutes on {threads} core(s)"
    rows.append(("**geqlib PONITA**", _spread(found["mse"]), _error(found["median"]["mean"]), ours))
    return _table(("", "test MSE", "median", ""), rows)


def _space() -> str:
    rows = [
        (
            name,
            _spread(r["mse"]),
            _error(r["median"]["mean"]),
            r["parameters"],
            f"{r['seconds_a_step']:.3f}",
            f"{r['peak_mib']:.0f}",
        )
        for name, r in _read("nbody_space")["rows"].items()
    ]
    return _table(("space", "test MSE", "median", "parameters", "s / step", "peak MiB"), rows)


def _size() -> str:
    rows = [
        (
            name,
            _error(r["mse"]),
            _error(r["median"]),
            r["parameters"],
            f"{r['seconds_a_step']:.3f}",
        )
        for name, r in _read("nbody_size")["rows"].items()
    ]
    return _table(("", "test MSE", "median", "parameters", "s / step"), rows)


def _digits() -> str:
    rows = [
        (
            name,
            f"{100 * r['upright']['mean']:.1f} %",
            f"{100 * r['turned']['mean']:.1f} %",
            r["parameters"],
        )
        for name, r in _read("digits")["rows"].items()
    ]
    return _table(("", "upright", "turned", "parameters"), rows)


def _speed() -> str:
    found = _read("speed_ponita")
    rows = [
        (name, f"{found['seconds'][name]:.2f}", f"{found['memory_mib'][name]:.0f}")
        for name in found["seconds"]
    ]
    table = _table(("a training step at the published size", "seconds", "peak MiB"), rows)
    return (
        f"{table}\n{found['speedup']:.2f} times faster at {100 * found['memory_ratio']:.0f} % of "
        "the peak memory, for the same outputs and gradients.\n"
    )


TABLES: dict[str, Callable[[], str]] = {
    "demo": _demo,
    "nbody": _nbody,
    "space": _space,
    "size": _size,
    "digits": _digits,
    "speed": _speed,
}


if __name__ == "__main__":
    raise SystemExit(main())
