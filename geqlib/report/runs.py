"""Run folders: configuration, logs and results of a training run, read and checked."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from geqlib.files.atomic import reading
from geqlib.report.predictions import read_predictions

__all__ = ["History", "Metrics", "Run", "read_history", "read_predictions", "read_run"]

Metrics = dict[str, float]
History = dict[str, np.ndarray]
DIRECT = "DirectPotential"
WRAPPERS = (
    "Potential",
    DIRECT,
    "AtomProperties",
    "Denoiser",
)  # which make energies, properties or denoisers of any network
INSIDE = ("model", "module", "network")  # arguments that are the network in another one


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        folder: its path.
        name: of the results, else of the folder.
        seed: of the results, else of the configuration.
        network: name of its network, as in `GauntNet` or `FrameAveraging of PointNet`.
        about: names of the model, the data and the task, where recorded.
        config: the LightningCLI configuration, empty when there is none.
        init: path and digest of the model that it began with, and errors of old structures before
            training; empty without one.
        fit: seconds, epochs, steps and parameters, where recorded.
        metrics: of the test; `None` when the run has not been tested.
        units: of metrics, by their names without `test/`, where recorded.
        monitor: the metric that chose the best checkpoint, and whether "min" or "max" is best.
        baselines: for each baseline its metrics on the same test set.
        environment: versions, machine and commit of the test.
        test_set: digest of the test set, where recorded.
        partly: whether only some of its batches were tested.
        history: see `read_history`.
    """

    folder: Path
    name: str
    seed: int | None
    network: str | None
    about: dict[str, str]
    config: dict[str, Any]
    init: dict[str, Any]
    fit: Metrics
    metrics: Metrics | None
    units: dict[str, str]
    monitor: tuple[str, str] | None
    baselines: dict[str, Metrics]
    environment: dict[str, str]
    test_set: str | None
    partly: bool
    history: History

    @property
    def conservative(self) -> bool:
        """Whether its forces, if it has any, are derivatives of energies."""
        return DIRECT not in _classes(self.config.get("model"))

    @property
    def fold(self) -> int | None:
        """The fold that it tests, if it is one of a cross-validation."""
        fold = (_arguments(self.config.get("data")) or {}).get("fold")
        return fold if type(fold) is int else None


def read_run(folder: Path) -> Run:
    """Read a run folder; all files but one of `config.yaml` and `results.json` may be missing.

    Raises:
        ValueError: when the folder is no run folder, or one of its files is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no run folder {folder}: check the path, or run `geqlib fit`.")
    config_path, results_path = folder / "config.yaml", folder / "results.json"
    if not config_path.exists() and not results_path.exists():
        raise ValueError(
            f"The folder {folder} holds neither config.yaml nor results.json: name a folder that "
            "`geqlib fit` wrote."
        )
    config = _read_config(config_path)
    results = _read_json(results_path, "test the run again")
    metrics = None
    if results_path.exists():
        metrics = _metrics(results, "metrics", results_path)
    seed = results.get("seed", config.get("seed_everything"))
    about = {key: str(results[key]) for key in ("model", "data", "task") if key in results}
    return Run(
        folder=folder,
        name=str(results.get("name") or folder.resolve().name),
        seed=seed if type(seed) is int else None,
        network=_network(config.get("model")) or about.get("model"),
        about=about,
        config=config,
        init=_read_json(folder / "init.json", "delete it"),
        fit=_read_fit(folder / "fit.json", results, results_path),
        metrics=metrics,
        units={k: str(v) for k, v in _part(results, "units", results_path).items()},
        monitor=_monitor(config),
        baselines=_baselines(results, results_path),
        environment={k: str(v) for k, v in _part(results, "environment", results_path).items()},
        test_set=results.get("test_set"),
        partly=results.get("limit_test_batches", 1.0) != 1.0,
        history=read_history(folder),
    )


def read_history(folder: Path) -> History:
    """The logged training and validation values of a run.

    A resumed run has one `metrics/version_*/metrics.csv` for each start. A later version replaces
    the earlier ones from its first step on. Versions that hold no training value come from
    `validate` or `test`, whose step counter starts at 0 again, and are left out.

    Args:
        folder: the run folder.

    Returns:
        For each column `train/...` or `val/...` with values, [n, 2] pairs (epochs done, value),
        sorted. Without files, or with empty ones, the history is empty.
    """
    lines: list[Metrics] = []
    for path in sorted(folder.glob("metrics/version_*/metrics.csv"), key=_version):
        later = _read_log(path)
        if not any(key.startswith("train/") for line in later for key in line):
            continue
        first = min(line["step"] for line in later)
        lines = [line for line in lines if line["step"] < first] + later
    lines.sort(key=lambda line: line["step"])
    per_epoch = _steps_per_epoch(lines)
    columns = dict.fromkeys(key for line in lines for key in line)
    return {
        column: np.array([((x["step"] + 1) / per_epoch, x[column]) for x in lines if column in x])
        for column in columns
        if column.startswith(("train/", "val/"))
    }


def _network(task: Any) -> str | None:
    """The network that the configuration of a task describes."""
    names = _classes(task)
    names = [name for name in names if name not in WRAPPERS] or names
    return " of ".join(names) or None


def _classes(task: Any) -> list[str]:
    """Names of the classes that the model of a task is made of, from the outside."""
    network = (_arguments(task) or {}).get("model")
    names = []
    while isinstance(network, dict) and isinstance(network.get("class_path"), str):
        names.append(network["class_path"].rpartition(".")[2])
        arguments = _arguments(network) or {}
        network = next((arguments[name] for name in INSIDE if name in arguments), None)
    return names


def _arguments(described: Any) -> dict[str, Any] | None:
    arguments = described.get("init_args") if isinstance(described, dict) else None
    return arguments if isinstance(arguments, dict) else None


def _monitor(config: dict[str, Any]) -> tuple[str, str] | None:
    monitor = config.get("monitor")
    return (monitor, str(config.get("monitor_mode"))) if isinstance(monitor, str) else None


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The file {path} is not valid YAML: repair it, or fit again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"The file {path} holds no configuration: repair it, or fit again.")
    return config


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"The file {path} is not valid JSON ({error}): {remedy}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"The file {path} must hold a JSON object: {remedy}.")
    return content


def _part(content: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    part = content.get(key) or {}
    if not isinstance(part, dict):
        raise ValueError(f"The entry {key} in {path} must be an object: test the run again.")
    return part


def _metrics(content: dict[str, Any], key: str, path: Path) -> Metrics:
    part = _part(content, key, path)
    for name, value in part.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(
                f"The entry {key}: {name} in {path} must be a number, got {value!r}: "
                "repair it, or run that step again."
            )
    return {name: float(value) for name, value in part.items()}


def _baselines(results: dict[str, Any], path: Path) -> dict[str, Metrics]:
    part = _part(results, "baselines", path)
    return {name: _metrics(part, name, path) for name in part}


def _read_fit(path: Path, results: dict[str, Any], results_path: Path) -> Metrics:
    if path.exists():
        return _metrics({"fit": _read_json(path, "fit again")}, "fit", path)
    return _metrics(results, "fit", results_path)


def _version(path: Path) -> int:
    number = re.fullmatch(r"version_(\d+)", path.parent.name)
    return int(number[1]) if number else -1


def _read_log(path: Path) -> list[Metrics]:
    """The numbers of each line that has a step."""
    with (
        reading(path, "is no table of metrics", "delete it to do without its curves"),
        path.open(newline="", encoding="utf-8-sig", errors="replace") as file,
    ):
        lines = [_numbers(line) for line in csv.DictReader(file)]
    return [line for line in lines if "step" in line]


def _numbers(line: dict[str, str]) -> Metrics:
    numbers = {}
    for key, text in line.items():
        try:
            numbers[key] = float(text)
        except (TypeError, ValueError):
            continue  # lines have few of the columns, and that of a killed run may be cut off
    counts = ("step", "epoch")
    return {k: v for k, v in numbers.items() if k not in counts or 0 <= v < math.inf}


def _steps_per_epoch(lines: list[Metrics]) -> float:
    """The largest ratio, because the last values of an epoch are logged at its end."""
    ratios = ((line["step"] + 1) / (line["epoch"] + 1) for line in lines if "epoch" in line)
    return max(ratios, default=1)
