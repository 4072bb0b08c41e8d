"""Weights of a loss that change during training: forces first, energies late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Weights = dict[str, float]
AFTER = "after_epoch"


class Stage(NamedTuple):
    """Weights, and the number of epochs after which they count."""

    after: int
    weights: Weights


def loss_stages(first: Weights, stages: Sequence[Mapping[str, float]] | None) -> list[Stage]:
    """All stages of a loss, the first among them.

    Args:
        first: name -> weight.
        stages: `{"after_epoch": 60, "energy_weight": 1000.0}` and so on in their order; what one
            does not name keeps its weight.

    Raises:
        ValueError: a key that is none, epochs that do not rise, weights that are negative or all 0.

    Example:
        >>> late = {"after_epoch": 60, "energy_weight": 9.0}
        >>> loss_stages({"energy": 1.0, "forces": 100.0}, [late])
        [Stage(after=0, weights={'energy': 1.0, 'forces': 100.0}), \
Stage(after=60, weights={'energy': 9.0, 'forces': 100.0})]
    """
    whole = [Stage(0, dict(first))]
    keys = [AFTER, *(f"{name}_weight" for name in first)]
    for stage in stages or ():
        unknown = next((key for key in stage if key not in keys), None)
        if unknown is not None or AFTER not in stage or len(stage) < 2:
            what = f"has no {unknown!r}" if unknown else f"is {dict(stage)}"
            raise ValueError(
                f"A stage of the loss {what}: it has {AFTER}, and {', '.join(keys[1:])}."
            )
        after = int(stage[AFTER])
        if after <= whole[-1].after:
            raise ValueError(
                f"{AFTER} is {after} after {whole[-1].after}: stages of the loss begin one after "
                "the other, the first of them after at least 1 epoch."
            )
        own = {name: float(stage[f"{name}_weight"]) for name in first if f"{name}_weight" in stage}
        whole.append(Stage(after, whole[-1].weights | own))
    for stage in whole:
        if min(stage.weights.values()) < 0 or max(stage.weights.values()) == 0:
            raise ValueError(f"Weights must not be negative, nor all 0, got {stage.weights}.")
    return whole


def weights_at(stages: Sequence[Stage], epoch: int) -> Weights:
    """The weights that count in an epoch, of which the first is 0."""
    return next(stage.weights for stage in reversed(stages) if stage.after <= epoch)


def check_reached(stages: Sequence[Stage], epochs: int | None) -> None:
    """Refuse stages that begin when a run has ended.

    Raises:
        ValueError: naming the first.
    """
    late = next((s.after for s in stages if epochs and 0 < epochs <= s.after), None)
    if late is not None:
        raise ValueError(
            f"A stage of the loss begins after epoch {late}, but the run has {epochs} epochs "
            "(trainer.max_epochs): let it begin earlier, or leave it out."
        )
