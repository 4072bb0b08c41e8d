"""The result tables: a row for the seeds of each configuration, then the baselines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from geqlib.counted import shown_unit
from geqlib.report.runs import Metrics, Run

# where a run was written, and what differs between seeds
_NOT_COMPARED = {
    "seed_everything",
    "seed",
    "shuffle_seed",
    "save_dir",
    "default_root_dir",
    "dirpath",
    "ckpt_path",
}
NONE = "-"
WIDTH = 78  # of a table in a terminal of 80 characters
NAME = 28  # of the first column, in which longer names are broken


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, all tested or all not.

    Args:
        name: unique in the report.
        runs: at least one.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def tested(self) -> bool:
        return self.runs[0].metrics is not None

    @property
    def seeds(self) -> str:
        """How many runs, and their seeds: `3 (0, 1, 2)`."""
        seeds = ", ".join(str(run.seed) for run in self.runs if run.seed is not None)
        return f"{len(self.runs)} ({seeds})" if seeds else str(len(self.runs))


@dataclass(frozen=True)
class Table:
    """Cells as text: `rows` for groups of runs, `baselines` below them, all as wide as `header`."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    baselines: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Characters of a line in a terminal, where long names are broken."""
        first, *others = zip(self.header, *self.rows, *self.baselines, strict=True)
        return min(max(map(len, first)), NAME) + sum(2 + max(map(len, c)) for c in others)


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order of their first run, seeds in ascending order.

    Runs of one configuration that differ in their seeds are one group, whatever their folders are
    called. A second run with the same seed is no further sample: it is a group of its own. Names of
    runs whose forces are not conservative say so.
    """
    by_configuration: dict[str, list[list[Run]]] = {}
    for run in runs:
        same = by_configuration.setdefault(_identity(run), [])
        free = (g for g in same if run.seed is None or all(r.seed != run.seed for r in g))
        group = next(free, None)
        if group is None:
            same.append([run])
        else:
            group.append(run)
    groups = []
    for members in (group for same in by_configuration.values() for group in same):
        conservative = all(run.conservative for run in members)
        name = _common_name(members) + ("" if conservative else " (forces not conservative)")
        members.sort(key=lambda run: (run.seed is None, run.seed))
        groups.append(Group(name, tuple(members)))
    names = [group.name for group in groups]
    return [
        replace(g, name=f"{g.name} ({g.runs[0].folder})") if names.count(g.name) > 1 else g
        for g in groups
    ]


def cross_validations(groups: Sequence[Group]) -> dict[str, tuple[Group, ...]]:
    """The groups that are the folds of one cross-validation, by the name of the folder above them.

    All folds are tested, on the whole of their test sets; there are two or more.
    """
    folds: dict[tuple[str, str], dict[int, Group]] = {}
    for group in groups:
        run = group.runs[0]
        fold = run.fold
        if fold is None or not group.tested or run.partly:
            continue
        facts = [run.about, _comparable(run.config, _NOT_COMPARED | {"fold"})]
        key = (str(run.folder.resolve().parent), json.dumps(facts, sort_keys=True, default=str))
        folds.setdefault(key, {}).setdefault(fold, group)
    several = {key: tuple(members.values()) for key, members in folds.items() if len(members) > 1}
    names = [Path(parent).name for parent, _ in several]
    return {
        name if names.count(name) == 1 else f"{name}, {members[0].name}": members
        for name, members in zip(names, several.values(), strict=True)
    }


def build_tables(
    groups: Sequence[Group], folds: Mapping[str, Sequence[Group]] | None = None
) -> list[Table]:
    """The metrics of the test set, mean ± sample standard deviation over the runs of a group.

    A row for each group and baseline, and for each cross-validation its mean ± sample standard
    deviation over folds; where that is wider than a terminal of 80 characters, a row for each
    metric if these are many, else several tables.

    Args:
        groups: of runs.
        folds: see `cross_validations`.
    """
    folds = folds or {}
    baselines = common_baselines(groups)
    measured = [run.metrics or {} for group in groups for run in group.runs]
    metrics = tuple(dict.fromkeys(key for m in [*measured, *baselines.values()] for key in m))
    if not metrics:
        rows = tuple((group.name, "not tested") for group in groups)
        return [Table(("name", "test"), rows, ())]
    units = {
        name: unit for group in groups for run in group.runs for name, unit in run.units.items()
    }
    scales = {metric: shown_unit(metric, units)[0] for metric in metrics}
    header = ("name", *(_head(metric, units) for metric in metrics))
    rows = tuple(_row(group, scales) for group in groups)
    rows += tuple(_mean_row(name, members, scales, len(folds)) for name, members in folds.items())
    below = tuple(
        (f"{name} (baseline)", *(_cell([s * m[c]] if c in m else []) for c, s in scales.items()))
        for name, m in baselines.items()
    )
    whole = Table(header, rows, below)
    if whole.width <= WIDTH:
        return [whole]
    turned = _transposed(whole)
    return [turned] if turned.width <= WIDTH else _split(whole)


def training_table(groups: Sequence[Group]) -> Table:
    """The network of each group, its size, and how long it was trained."""
    header = ("name", "network", "runs (seeds)", "parameters", "minutes", "epochs")
    return Table(header, tuple(map(_training, groups)), ())


def _transposed(table: Table) -> Table:
    """A row for each metric."""
    columns = list(zip(table.header, *table.rows, *table.baselines, strict=True))
    names = ("metric", *columns[0][1:])
    return Table(names, tuple(columns[1:]), ())


def _split(table: Table) -> list[Table]:
    """Tables that fit the width of a terminal, a few metrics in each."""
    parts: list[list[int]] = [[]]
    for k in range(1, len(table.header)):
        if parts[-1] and _columns(table, [0, *parts[-1], k]).width > WIDTH:
            parts.append([])
        parts[-1].append(k)
    return [_columns(table, [0, *part]) for part in parts]


def _columns(table: Table, numbers: Sequence[int]) -> Table:
    def pick(row: Sequence[str]) -> tuple[str, ...]:
        return tuple(row[k] for k in numbers)

    return Table(
        pick(table.header), tuple(map(pick, table.rows)), tuple(map(pick, table.baselines))
    )


def common_baselines(groups: Sequence[Group]) -> dict[str, Metrics]:
    """Baselines under the names of the test metrics that they are compared with.

    Where groups were tested on different test sets, a baseline has one entry for each, which names
    the group that it belongs to.
    """
    variants: dict[str, list[tuple[str, Metrics]]] = {}
    for group in groups:
        for run in group.runs:
            for name, metrics in run.baselines.items():
                renamed = {k if "/" in k else f"test/{k}": v for k, v in metrics.items()}
                same_name = variants.setdefault(name, [])
                if not any(_close(renamed, other) for _, other in same_name):
                    same_name.append((group.name, renamed))
    return {
        name if len(same_name) == 1 else f"{name}, for {group}": metrics
        for name, same_name in variants.items()
        for group, metrics in same_name
    }


def number(value: float, digits: int = 4) -> str:
    """A number with that many significant digits, without an exponent where it stays readable."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - math.floor(math.log10(abs(value))), 0)}f}"


def _head(metric: str, units: Mapping[str, str]) -> str:
    """The name of a metric of the test set, with its unit."""
    name, (_, unit) = metric.removeprefix("test/"), shown_unit(metric, units)
    return f"{name} ({unit})" if unit else name


def _row(group: Group, scales: Mapping[str, float]) -> tuple[str, ...]:
    """Cells of metrics, each times its factor."""
    if not group.tested:
        return (group.name, "not tested", *(NONE for _ in [*scales][1:]))
    return (group.name, *(_cell(_values(group, metric, s)) for metric, s in scales.items()))


def _values(group: Group, metric: str, scale: float) -> list[float]:
    return [scale * r.metrics[metric] for r in group.runs if r.metrics and metric in r.metrics]


def _mean_row(
    name: str, folds: Sequence[Group], scales: Mapping[str, float], several: int
) -> tuple[str, ...]:
    """Mean ± sample standard deviation over folds, of the means over the seeds of each."""
    cells = []
    for metric, scale in scales.items():
        values = [_values(group, metric, scale) for group in folds]
        cells.append(_cell([fmean(v) for v in values] if all(values) else []))
    head = f"mean over {len(folds)} folds"
    return (f"{head} of {name}" if several > 1 else head, *cells)


def _training(group: Group) -> tuple[str, ...]:
    fits = [run.fit for run in group.runs]
    parameters = _mean(fits, "parameters")
    minutes, epochs = _mean(fits, "seconds"), _mean(fits, "epochs")
    return (
        group.name,
        group.runs[0].network or NONE,
        group.seeds,
        NONE if parameters is None else f"{parameters:,.0f}",
        NONE if minutes is None else number(minutes / 60, 3),
        NONE if epochs is None else f"{epochs:.4g}",
    )


def _mean(fits: Sequence[Metrics], key: str) -> float | None:
    values = [fit[key] for fit in fits if key in fit]
    return fmean(values) if values else None


def _cell(values: Sequence[float]) -> str:
    if not values:
        return NONE
    text = number(fmean(values))
    if len(values) > 1 and all(map(math.isfinite, values)):
        return f"{text} ± {number(stdev(values), 2)}"
    return text


def _close(a: Metrics, b: Metrics) -> bool:
    return a.keys() == b.keys() and all(math.isclose(a[k], b[k], rel_tol=1e-4) for k in a)


def _identity(run: Run) -> str:
    """The properties that runs of one group share; without a configuration also the name."""
    name = "" if run.config else _seedless(run)
    tested = [run.metrics is None, run.test_set, run.partly]
    facts = [name, *tested, run.about, _comparable(run.config)]
    return json.dumps(facts, sort_keys=True, default=str)


def _common_name(runs: Sequence[Run]) -> str:
    part = ", on a part of the test set" if runs[0].partly else ""
    if len(runs) == 1:
        return runs[0].name + part
    names = list(dict.fromkeys(map(_seedless, runs)))
    return (names[0] if len(names) == 1 else f"{names[0]} and {len(runs) - 1} more") + part


def _seedless(run: Run) -> str:
    """The name without the seed: `ponita-seed1`, and `ponita-1` where 1 is the seed."""
    name = re.sub(r"[-_. ]?seed[-_=. ]?\d+", "", run.name, flags=re.IGNORECASE)
    if run.seed is not None:
        name = re.sub(rf"[-_]{run.seed}$", "", name)
    return name or run.name


def _comparable(value: Any, left_out: Set[str] = _NOT_COMPARED) -> Any:
    if isinstance(value, dict):
        return {str(k): _comparable(v, left_out) for k, v in value.items() if k not in left_out}
    if isinstance(value, list):
        return [_comparable(v, left_out) for v in value]
    return value
