"""The optimiser and the learning rate of a task: its own, or those that a run names."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch import cli
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import instantiate_class
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.lr_scheduler import ReduceLROnPlateau as TorchPlateau

from geqlib.files.plain import plain
from geqlib.train.steps.schedule import Plateau, rate_factor, schedule_settings, time_limit

KEY = "chosen"  # of what checkpoints keep of the optimiser and scheduler that a run names
Description = Mapping[str, Any]  # {"class_path": ..., "init_args": {...}}


class ReduceLROnPlateau(cli.ReduceLROnPlateau):
    """torch's scheduler of this name, which goes by the metric that the run monitors.

    Args:
        optimizer: of which it lowers the rates.
        monitor: another metric.
        mode: whether that is an error ("min", as without this) or a score ("max").
        options: of torch's class, such as `patience` and `factor`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, monitor or "", mode=mode or "min", **options)


@dataclass(frozen=True)
class Chosen:
    """What a run names in place of the task's own optimisation.

    Args:
        optimizer: an optimiser, in place of AdamW with the task's `lr` and `weight_decay`.
        lr_scheduler: a scheduler, stepped once an epoch, in place of the task's `schedule` and
            `warmup`.
        monitor: metric that schedules wait for.
        mode: whether it is an error ("min") or a score ("max").
    """

    optimizer: Description | None = None
    lr_scheduler: Description | None = None
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"

    def record(self) -> dict[str, Any]:
        """What resumed runs are compared by."""
        named = {"optimizer": self.optimizer, "lr_scheduler": self.lr_scheduler}
        return json.loads(json.dumps(plain(named, "The optimizer")))


def choose(task: Any, chosen: Chosen) -> None:
    """Have a task use what a run names, also if it has a `configure_optimizers` of its own.

    Raises:
        ValueError: a scheduler for an optimiser that is not known here.
    """
    task.chosen = chosen
    if not (chosen.optimizer or chosen.lr_scheduler):
        return
    own = type(task).configure_optimizers
    if own.__module__.startswith("geqlib."):
        return
    if chosen.optimizer is None:
        raise ValueError(
            f"{type(task).__name__} makes its own optimizer, to which lr_scheduler cannot be "
            "added: name the optimizer, too (--optimizer)."
        )
    task.configure_optimizers = MethodType(lambda self: configured(self, "AdamW"), task)


def configured(task: Any, own: str, **options: Any) -> dict[str, Any]:
    """What `configure_optimizers` of a task returns.

    Args:
        task: with `lr`, `warmup`, `weight_decay`, `schedule` and `chosen`.
        own: class of torch.optim that is used if the run names none.
        options: of that class.
    """
    chosen: Chosen = task.chosen
    parameters = [p for p in task.parameters() if p.requires_grad]
    if chosen.optimizer is None:
        groups = decayed(parameters, task.weight_decay)
        optimizer = getattr(torch.optim, own)(groups, lr=task.lr, **options)
    else:
        optimizer = named_optimizer(parameters, chosen.optimizer)
        first = optimizer.param_groups[0]
        task.lr = float(first["lr"])
        task.weight_decay = float(first.get("weight_decay", 0.0))
    return {"optimizer": optimizer, "lr_scheduler": _scheduler(task, optimizer)}


def decayed(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups of parameters: matrices decay; biases, norms and other vectors do not."""
    listed = list(parameters)
    return [
        {"params": [p for p in listed if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in listed if p.dim() <= 1], "weight_decay": 0.0},
    ]


def named_optimizer(parameters: list[nn.Parameter], description: Description) -> Any:
    """An optimiser as a run names it; where it has a weight decay, vectors do not decay.

    Raises:
        ValueError: if its class refuses its settings or these parameters.
    """
    settings = dict(description.get("init_args") or {})
    decay = settings.get("weight_decay") or 0.0
    groups: Any = decayed(parameters, decay) if decay else parameters
    try:
        return instantiate_class(groups, {**description, "init_args": settings})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"optimizer {description['class_path']}: {error}") from error


def monitored(task: Any) -> tuple[str | None, Literal["min", "max"]]:
    """The metric that a run monitors, and whether less of it is better."""
    trainer = task.trainer
    if getattr(trainer, "limit_val_batches", 1) in (0, 0.0):
        return None, "min"
    if task.chosen.monitor is not None:
        return task.chosen.monitor, task.chosen.mode
    for callback in getattr(trainer, "checkpoint_callbacks", ()):  # of a trainer of one's own
        if isinstance(callback, ModelCheckpoint) and callback.monitor:
            return callback.monitor, "max" if callback.mode == "max" else "min"
    return None, "min"


def _scheduler(task: Any, optimizer: Any) -> dict[str, Any]:
    """The entry "lr_scheduler" of `configure_optimizers`."""
    metric, mode = monitored(task)
    description = task.chosen.lr_scheduler
    if description is None:
        factor = rate_factor(
            task.schedule,
            task.warmup,
            steps=task.trainer.estimated_stepping_batches,
            timer=time_limit(task.trainer),
            mode=None if metric is None else mode,
        )
        return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
    settings = dict(description.get("init_args") or {})
    if settings.get("mode", "min") is None and settings.get("monitor") in (None, metric):
        settings["mode"] = mode
    try:
        scheduler = instantiate_class(optimizer, {**description, "init_args": settings})
    except (TypeError, ValueError) as error:
        raise ValueError(f"lr_scheduler {description['class_path']}: {error}") from error
    if not isinstance(scheduler, TorchPlateau):
        return {"scheduler": scheduler, "interval": "epoch"}
    metric = getattr(scheduler, "monitor", "") or metric
    if metric is None:
        raise ValueError(
            "lr_scheduler waits for a metric, and this run monitors none: set monitor."
        )
    if metric == task.chosen.monitor and scheduler.mode != task.chosen.mode:
        raise ValueError(
            f"lr_scheduler has mode {scheduler.mode}, but the run's monitor_mode for {metric} is "
            f"{task.chosen.mode}: set --lr_scheduler.mode {task.chosen.mode}."
        )
    return {"scheduler": scheduler, "interval": "epoch", "monitor": metric}


def waits_for_validation(task: Any, scheduler: Any) -> bool:
    """Whether this scheduler goes by a metric of the validation, at whose end it is stepped."""
    if not isinstance(scheduler, TorchPlateau):
        return False
    configs = getattr(task.trainer, "lr_scheduler_configs", ())
    return any(c.scheduler is scheduler and str(c.monitor).startswith("val/") for c in configs)


def observe(task: Any) -> None:
    """Show the metrics of a validation to a schedule that waits for one."""
    scheduler: Any = task.lr_schedulers() if task.trainer.state.fn == "fit" else None
    rate = scheduler.lr_lambdas[0] if isinstance(scheduler, LambdaLR) else None
    metrics = task.trainer.callback_metrics
    if isinstance(rate, Plateau):
        name = monitored(task)[0]
        if name in metrics:
            rate.observe(float(metrics[name]))
    elif waits_for_validation(task, scheduler):
        name = task.trainer.lr_scheduler_configs[0].monitor
        if name in metrics:
            scheduler.step(metrics[name])


def check_same(checkpoint: Mapping[str, Any], task: Any) -> None:
    """Refuse to resume with another optimiser or scheduler than a run was trained with.

    Args:
        checkpoint: of the run, which may know of none.
        task: of the run that resumes.

    Raises:
        ValueError: naming the first that differs.
    """
    before, now = checkpoint.get(KEY) or {}, task.chosen.record()
    settings = checkpoint.get("hyper_parameters") or {}
    for name in now:
        if before.get(name) != now[name]:
            raise ValueError(
                f"The checkpoint was trained with {name} {_short(before.get(name))}, and this run "
                f"has {_short(now[name])}, which cannot change within a run: resume it with its "
                "own config.yaml, or start a new run."
            )
    if now["lr_scheduler"] is None or now["optimizer"] is not None:
        return
    for name in ("lr", "weight_decay"):  # of which the scheduler has its own record
        if name in settings and settings[name] != task.hparams.get(name):
            raise ValueError(
                f"{name} was {settings[name]} and is {task.hparams.get(name)}, which a run with an "
                "lr_scheduler cannot change: leave it, or start a new run."
            )


def sentence(task: Any) -> str:
    """What trains a task in place of its own optimisation; empty if nothing does."""
    chosen: Chosen = task.chosen
    parts = []
    if chosen.optimizer is not None:
        unused = [
            f"{name} {task.hparams[name]:g}"
            for name in ("lr", "weight_decay")
            if name in task.hparams
        ]
        if task.hparams.get("amsgrad"):
            unused.append("amsgrad")
        parts.append(
            f"The optimizer is {_short(chosen.optimizer)}"
            + (f"; {', '.join(unused)} of the task are not used" if unused else "")
        )
    if chosen.lr_scheduler is not None:
        parts.append(
            f"the learning rate follows {_short(chosen.lr_scheduler)}, once an epoch; schedule and "
            "warmup of the task are not used"
        )
    elif parts:
        name = schedule_settings(task.schedule)[0]
        parts.append(f"the learning rate follows the task's warmup and schedule ({name})")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def learning_rates_of(trainer: L.Trainer) -> set[str]:
    """Metrics that schedulers wait for."""
    configs = getattr(trainer, "lr_scheduler_configs", ())
    return {config.monitor for config in configs if config.monitor}


def _short(description: Description | None) -> str:
    """Such as `SGD(lr=0.1, momentum=0.9)`, without what its class sets by default."""
    if description is None:
        return "of the task"
    module, _, name = str(description["class_path"]).rpartition(".")
    settings = dict(description.get("init_args") or {})
    try:
        cls = getattr(__import__(module, fromlist=[name]), name)
        defaults: dict[str, inspect.Parameter] = {}
        for base in reversed(cls.__mro__):  # which a class may hand its settings on to
            defaults |= inspect.signature(base.__init__).parameters
        settings = {
            key: value
            for key, value in settings.items()
            if key == "lr" or key not in defaults or defaults[key].default != value
        }
    except (ImportError, AttributeError, ValueError):
        pass
    return f"{name}({', '.join(f'{key}={value}' for key, value in settings.items())})"
