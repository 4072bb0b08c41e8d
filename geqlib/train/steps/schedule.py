"""The learning rate: linear warm-up, then a schedule; also of runs that are resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Timer
from torch.optim.lr_scheduler import LambdaLR

SAME = 1e-9  # relative difference of rates that are equal but for rounding
Schedule = Literal["cosine", "constant", "plateau", "step"] | dict[str, dict[str, Any]]
Course = Callable[[float], float]  # of the share of all steps that is done
Factor = Callable[[int], float]  # of the number of steps
SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"after": 0.0},
    "constant": {},
    "plateau": {"patience": 10, "factor": 0.5},
    "step": {"at": [0.5, 0.75], "factor": 0.1},
}


def schedule_settings(schedule: Schedule) -> tuple[str, dict[str, Any]]:
    """Name and settings of the schedule of a task.

    Args:
        schedule: a name, or `{name: settings}` with those that differ from `SETTINGS`.

    Raises:
        ValueError: naming what there is no such thing of, or a setting that makes no sense.

    Example:
        >>> schedule_settings({"step": {"at": [0.6, 0.9]}})
        ('step', {'at': [0.6, 0.9], 'factor': 0.1})
    """
    whole = schedule if isinstance(schedule, Mapping) else {schedule: {}}
    name, own = next(iter(whole.items()), ("", {}))
    if len(whole) != 1 or name not in SETTINGS or not isinstance(own, Mapping | None):
        raise ValueError(
            f"schedule is {schedule!r}: choose one of {', '.join(SETTINGS)}, or "
            "{plateau: {patience: 20, factor: 0.5}} and the like."
        )
    unknown = next((key for key in own or {} if key not in SETTINGS[name]), None)
    if unknown is not None:
        names = ", ".join(SETTINGS[name]) or "none"
        raise ValueError(f"The schedule {name!r} has no setting {unknown!r}: it has {names}.")
    settings = SETTINGS[name] | dict(own or {})
    if "factor" in settings and not 0 < settings["factor"] < 1:
        raise ValueError(f"factor of the schedule is in (0, 1), got {settings['factor']}.")
    if "patience" in settings and settings["patience"] < 0:
        raise ValueError(f"patience of the schedule is at least 0, got {settings['patience']}.")
    if not 0 <= settings.get("after", 0.0) < 1:
        raise ValueError(
            f"after of the schedule is a share of all steps in [0, 1), got {settings['after']}."
        )
    if not all(0 < share < 1 for share in settings.get("at", ())):
        raise ValueError(f"`at` lists shares of all steps in (0, 1), got {settings['at']}.")
    return name, settings


class Plateau:
    """The factor of a learning rate that falls whenever a metric has ceased to improve.

    What `LambdaLR` keeps in checkpoints is the state: the best value, the number of measurements
    since, and the factor. Settings are those of the run at hand.

    Args:
        rise: factor of the warm-up by step.
        patience: number of measurements without an improvement after which the rate falls at the
            next one, as torch's `ReduceLROnPlateau` counts.
        factor: by which it falls.
        mode: whether the metric is an error ("min") or a score ("max").

    Example:
        >>> rate = Plateau(lambda step: 1.0, patience=1, factor=0.5, mode="min")
        >>> [(rate.observe(value), rate(0))[1] for value in (3.0, 2.0, 2.0, 2.5, 1.0)]
        [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    __slots__ = ("__dict__", "drop", "mode", "patience", "rise")  # outside of __dict__: settings

    def __init__(
        self,
        rise: Factor,
        *,
        patience: int,
        factor: float,
        mode: Literal["min", "max"],
    ) -> None:
        self.rise, self.patience, self.drop, self.mode = rise, patience, factor, mode
        self.best: float | None = None
        self.waited, self.factor = 0, 1.0

    def __call__(self, step: int) -> float:
        return self.rise(step) * self.factor

    def observe(self, value: float) -> None:
        """Take a measurement of the metric."""
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * value < sign * self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.waited, self.factor = 0, self.factor * self.drop


def course(name: str, settings: Mapping[str, Any]) -> Course:
    """Factor of the learning rate by the share of all steps that is done, without warm-up.

    Example:
        >>> fall = course("step", SETTINGS["step"])
        >>> fall(0.2), fall(0.5), round(fall(0.9), 3)
        (1.0, 0.1, 0.01)
    """
    if name == "cosine":
        after = settings["after"]
        return lambda share: 0.5 * (1 + math.cos(math.pi * max(share - after, 0.0) / (1 - after)))
    if name == "step":
        return lambda share: float(settings["factor"] ** sum(share >= at for at in settings["at"]))
    return lambda share: 1.0


def by_steps(
    course: Callable[[float], float], warmup: float, steps: float
) -> Callable[[int], float]:
    """Factor of the learning rate in each step.

    Args:
        course: see `course`.
        warmup: fraction of all steps in which it rises.
        steps: number of all steps.

    Example:
        >>> factor = by_steps(course("cosine", SETTINGS["cosine"]), 0.2, 10)
        >>> factor(0), round(factor(5), 3), factor(10)
        (0.5, 0.5, 0.0)
    """
    rising = max(int(warmup * steps), 1) if warmup else 1
    return lambda step: min((step + 1) / rising, 1.0) * course(min(step / steps, 1.0))


def by_time(
    course: Callable[[float], float], warmup: float, timer: Timer
) -> Callable[[int], float]:
    """The same for a run that ends after a time, not after a number of steps."""

    def factor(step: int) -> float:
        elapsed, remaining = timer.time_elapsed(), timer.time_remaining() or 0.0
        share = min(elapsed / max(elapsed + remaining, 1e-9), 1.0)
        rising = min((share + 1e-3) / warmup, 1.0) if warmup else 1.0
        return rising * course(share)

    return factor


def rate_factor(
    schedule: Schedule,
    warmup: float,
    *,
    steps: float,
    timer: Timer | None,
    mode: Literal["min", "max"] | None,
) -> Factor:
    """Factor of the learning rate in each step of a run.

    Args:
        schedule, warmup: of the task.
        steps: number of all steps, which may be infinite.
        timer: that ends the run, if one does.
        mode: of the metric that the run monitors; None if it monitors none.

    Raises:
        ValueError: a schedule that needs an end or a metric, of a run without.
    """
    name, settings = schedule_settings(schedule)
    own = course(name, settings)
    if not math.isinf(steps):
        factor = by_steps(own, warmup, max(int(steps), 1))
    elif timer is not None:
        factor = by_time(own, warmup, timer)
    elif name in ("constant", "plateau") and not warmup:
        factor = by_steps(own, 0.0, steps)
    else:
        what = "The learning rate falls until" if name in ("cosine", "step") else "Warm-up is up to"
        rest = "" if name in ("cosine", "step") else ", or warmup to 0"
        raise ValueError(
            f"{what} the end, and this run has none: set trainer.max_epochs, trainer.max_steps or "
            f"trainer.max_time{rest}."
        )
    if name != "plateau":
        return factor
    if mode is None:
        raise ValueError(
            'The schedule "plateau" waits for the monitored metric, and this run monitors none: '
            "give it validation and `monitor` (of a trainer of your own, a ModelCheckpoint with "
            "one), or choose another schedule."
        )
    return Plateau(factor, patience=settings["patience"], factor=settings["factor"], mode=mode)


def time_limit(trainer: L.Trainer) -> Timer | None:
    """The timer that ends a run, if one does."""
    timers = (c for c in getattr(trainer, "callbacks", ()) if isinstance(c, Timer))
    return next((timer for timer in timers if timer.time_remaining() is not None), None)


def continue_schedule(schedule: LambdaLR, lr: float, weight_decay: float) -> str:
    """Apply the settings of a resumed run, of which the checkpoint has restored the old ones.

    Args:
        schedule: as restored, with the factors of this run.
        lr: peak learning rate of this run.
        weight_decay: of this run; groups without decay have none after this, either.

    Returns:
        What has changed, in a sentence; empty if nothing has.
    """
    groups = schedule.optimizer.param_groups
    before, decays = groups[0]["lr"], {group.get("weight_decay", 0.0) for group in groups} - {0.0}
    step = schedule.last_epoch
    after = lr * schedule.lr_lambdas[0](step)
    changes = []
    if not math.isclose(before, after, rel_tol=SAME, abs_tol=SAME * lr):
        schedule.base_lrs = [lr] * len(groups)
        for group in groups:
            group["initial_lr"], group["lr"] = lr, after
        changes.append(
            f"the learning rate was {before:.3g} at step {step} and is {after:.3g} from there, on "
            f"the schedule of this run's lr ({lr:g}), warmup and number of steps"
        )
    elif any(base != lr for base in schedule.base_lrs):  # at the end both may be 0
        schedule.base_lrs = [lr] * len(groups)
    if decays != {weight_decay} - {0.0}:
        groups[0]["weight_decay"] = weight_decay
        changes.append(f"weight_decay is {weight_decay:g} from here")
    return " and ".join(changes)
