"""The learning rate: linear warm-up and cosine decay, also of runs that are resumed."""

from __future__ import annotations

import math
from collections.abc import Callable

import lightning as L
from lightning.pytorch.callbacks import Timer
from torch.optim.lr_scheduler import LambdaLR

SAME = 1e-9  # relative difference of rates that are equal but for rounding


def warmup_cosine(warmup: float, steps: int) -> Callable[[int], float]:
    """Factor of the learning rate in each step.

    Args:
        warmup: fraction of all steps in which it rises.
        steps: number of all steps.

    Example:
        >>> factor = warmup_cosine(0.2, 10)
        >>> factor(0), round(factor(5), 3), factor(10)
        (0.5, 0.5, 0.0)
    """
    rising = max(int(warmup * steps), 1)

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
        return min((step + 1) / rising, 1.0) * cosine

    return factor


def timed_warmup_cosine(warmup: float, timer: Timer) -> Callable[[int], float]:
    """The same for a run that ends after a time, not after a number of steps."""

    def factor(step: int) -> float:
        elapsed, remaining = timer.time_elapsed(), timer.time_remaining() or 0.0
        share = min(elapsed / max(elapsed + remaining, 1e-9), 1.0)
        rising = min((share + 1e-3) / warmup, 1.0) if warmup else 1.0
        return rising * 0.5 * (1 + math.cos(math.pi * share))

    return factor


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
    before, decays = groups[0]["lr"], {group["weight_decay"] for group in groups} - {0.0}
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
