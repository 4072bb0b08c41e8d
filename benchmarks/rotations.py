"""Networks on point clouds under the rotation protocols I/I, I/SO(3) and SO(3)/SO(3)."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.budget import budgeted
from benchmarks.markdown import markdown
from benchmarks.measure import write_result
from benchmarks.training import RUNS, show, summary, trained

PROTOCOLS = ("I/I", "I/SO(3)", "SO(3)/SO(3)")


def measure(
    name: str,
    about: str,
    configs: Mapping[str, Path],
    minutes: float,
    metrics: Sequence[str],
    changes: Mapping[str, object] | None = None,
) -> None:
    """Train and test every network, by the options of the command line; write the result.

    Args:
        name: of the benchmark.
        about: the docstring of its script: a title, then the protocol.
        configs: of the networks, by name.
        minutes: of processor time of a run, unless the command line says otherwise.
        metrics: of the test, the first of which is shown.
        changes: to all configurations, by dotted name.
    """
    fixed = dict(changes or {})
    parser = ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=minutes, help="of processor time a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    given = parser.parse_args()
    budget = budgeted(name, {net: (path, fixed) for net, path in configs.items()}, given.minutes)
    runs: dict[str, Any] = {net: {p: [] for p in PROTOCOLS} for net in configs}
    for seed in given.seeds:
        for net, path in configs.items():
            for protocol in PROTOCOLS:
                turned = "turned" if protocol == "SO(3)/SO(3)" else "upright"
                folder = RUNS / f"{name}-{net}-{turned}-{given.minutes:g}min-seed{seed}"
                options = fixed | budget[net]
                runs[net][protocol].append(_run(folder, path, protocol, seed, options))
    rows = {net: _row(found, metrics) for net, found in runs.items()}
    show(metrics[0], ("", *PROTOCOLS, "parameters", "steps"), _cells(rows, metrics[0], 1, ""))
    protocol = " ".join(about.split("\n\n")[1].split())
    content = {"protocol": protocol, "minutes": given.minutes, "seeds": given.seeds, "rows": rows}
    sys.stdout.write(f"wrote {write_result(f'accuracy/{name}', content)}\n")


def rotation_table(
    found: dict[str, Any], title: str, metric: str, *, scale: float = 1, unit: str = ""
) -> str:
    """Mean and standard deviation of a metric under each protocol, times `scale`."""
    header = (title, *PROTOCOLS, "parameters", "steps")
    return markdown(header, _cells(found["rows"], metric, scale, unit))


def _run(
    folder: Path, config: Path, protocol: str, seed: int, changes: Mapping[str, object]
) -> dict[str, Any]:
    turned = protocol == "SO(3)/SO(3)"
    options: dict[str, object] = {"trainer.enable_progress_bar": False, **changes}
    options["data.init_args.rotations"] = "SO(3)/SO(3)" if turned else "I/I"
    options["model.init_args.rotate"] = turned
    tested = {"data.init_args.rotations": protocol}
    found = trained(folder, config, options, seed, tested=tested)
    return found | {"fit": json.loads((folder / "fit.json").read_text())}


def _row(found: dict[str, list[dict[str, Any]]], metrics: Sequence[str]) -> dict[str, Any]:
    first = found["I/I"][0]["fit"]
    errors = {
        metric: {p: summary(results, f"test/{metric}") for p, results in found.items()}
        for metric in metrics
    }
    return errors | {"parameters": first["parameters"], "steps": first["steps"]}


def _cells(rows: dict[str, Any], metric: str, scale: float, unit: str) -> list[tuple[object, ...]]:
    return [
        (net, *(_spread(r[metric][p], scale, unit) for p in PROTOCOLS), r["parameters"], r["steps"])
        for net, r in rows.items()
    ]


def _spread(entry: dict[str, Any], scale: float, unit: str) -> str:
    digits = 1 if scale > 1 else 4
    text = f"{scale * entry['mean']:.{digits}f}"
    text += "" if entry["std"] is None else f" ± {scale * entry['std']:.{digits}f}"
    return text + unit
