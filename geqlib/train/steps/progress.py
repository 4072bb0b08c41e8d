"""How far training is: a line for each epoch, where a progress bar would fill a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from geqlib.counted import legend, shown_unit


def progress(options: Mapping[str, Any], callbacks: Sequence[Any], monitor: str) -> dict[str, Any]:
    """Options of the trainer, with lines in place of a bar where nobody watches it.

    Args:
        options: of the trainer; `enable_progress_bar` true or false is left as it is.
        callbacks: of the run, of which one may be a bar.
        monitor: metric that the lines show.
    """
    chosen = options.get("enable_progress_bar") is not None or options.get("barebones")
    if chosen or watched() or any(isinstance(callback, ProgressBar) for callback in callbacks):
        return {}
    return {"enable_progress_bar": False, "callbacks": [*callbacks, EpochLines(monitor)]}


def watched() -> bool:
    """Whether standard output is a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


class EpochLines(L.Callback):
    """Prints a line for each epoch: training loss, the monitored metric, and those a bar shows.

    Args:
        monitor: metric.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.started = monitor, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        last = trainer.max_epochs or -1
        total = f"/{last}" if last > 0 else ""
        names = dict.fromkeys(["train/loss", self.monitor, *trainer.progress_bar_metrics])
        metrics = trainer.callback_metrics
        values = {name: float(metrics[name]) for name in names if name in metrics}
        measured = "".join(f"  {name} {value:.4g}" for name, value in values.items())
        seconds = time.perf_counter() - self.started
        print_line(f"epoch {trainer.current_epoch + 1}{total}{measured}  {seconds:.0f} s")


def print_metrics(metrics: Mapping[str, float], units: Mapping[str, str]) -> None:
    """Print a line for each metric, without the name of its split, and with its unit.

    Args:
        metrics: by name.
        units: of metrics; scores without a unit are printed in %.
    """
    short = {name.partition("/")[2] or name: value for name, value in metrics.items()}
    width = max(map(len, short), default=0)
    for name, value in short.items():
        scale, unit = shown_unit(name, units)
        print_line(f"{name:{width}}  {scale * value:.4g} {unit}".rstrip())
    if meaning := legend(metrics):
        print_line(meaning)


def print_line(text: str) -> None:
    """Write a line that a log shows at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
