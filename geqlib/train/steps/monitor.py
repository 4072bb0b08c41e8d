"""What is monitored is measured: a metric that nobody logs, or that has no value, is refused."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import lightning as L

from geqlib.train.steps.optimisation import learning_rates_of

# of every run, but not of the validation before training
LATER = ("train/loss", "minutes", "processor_minutes")


class CheckMonitors(L.Callback):
    """Refuses a monitored metric that the task does not log, before training starts.

    The validation batches that Lightning measures before training (`num_sanity_val_steps`) show
    what the task logs; a resumed run, which measures none, has it from its checkpoint. With neither
    it is the first validation that shows it.
    """

    def __init__(self) -> None:
        self.metrics: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics = list(state_dict["metrics"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.metrics:
            self._check_names(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.metrics = sorted(getattr(pl_module, "logged", set()) - {*LATER})
        if not self.metrics:
            return
        self._check_names(trainer)
        values = trainer.callback_metrics
        for name in _monitored(trainer) & values.keys():
            # the batches before training need not have all labels that the split has
            if _is_own(trainer) and not trainer.sanity_checking and bool(values[name].isnan()):
                raise ValueError(
                    f"The monitored metric {name} is NaN: nothing in the validation split has the "
                    "label that it compares with. Give the split such labels, or monitor another "
                    "metric."
                )

    def _check_names(self, trainer: L.Trainer) -> None:
        task = type(trainer.lightning_module)
        for name in sorted(_monitored(trainer)):
            logged = name.partition("/dataloader_idx_")[0] in {*self.metrics, *LATER}
            if not logged and (_is_own(trainer) or name.startswith("val/")):
                raise ValueError(unlogged(name, self.metrics, task))


def unlogged(name: str, metrics: Iterable[str], task: type) -> str:
    """The sentence about a metric that a task does not log.

    Example:
        >>> unlogged("val/mse", ["val/mae", "val/rmse"], L.LightningModule)
        'LightningModule does not log the monitored metric val/mse, but val/mae and val/rmse: did \
you mean val/rmse?'
    """
    *others, last = sorted(metrics)
    listed = f"{', '.join(others)} and {last}" if others else last
    near = get_close_matches(name, [*others, last], n=1, cutoff=0.0)[0]
    return (
        f"{task.__name__} does not log the monitored metric {name}, but {listed}: did you mean "
        f"{near}?"
    )


def _is_own(trainer: L.Trainer) -> bool:
    """Whether the task is one of this library; others may log more while they train."""
    return type(trainer.lightning_module).__module__.startswith("geqlib.")


def _monitored(trainer: L.Trainer) -> set[str]:
    """Names that callbacks and schedulers wait for: checkpoints, early stopping, plateaus."""
    names = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
    names |= learning_rates_of(trainer)
    return {name for name in names if isinstance(name, str)}
