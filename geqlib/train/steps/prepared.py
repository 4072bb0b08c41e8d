"""Plans of batches, made where the batches are made: in the workers of a loader."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from geqlib.graph import accepted
from geqlib.graph.padding import padded, sizes_of
from geqlib.train.steps.replay import NotReplayableError, ambiguous, plan_of_padded

STRUCTURE = ("batch", "edge_index", "edge_attr", "reverse", "ptr", "cell_shift", "edge_shift")
NAMES = (*STRUCTURE, "pos", "cell")  # a plan may be one of the distances


class PlanInLoader:
    """Adds the plan of a model to each batch, so that no step waits for its sizes.

    Args:
        model: with `plan`, or without: then batches stay as they are.
        padded: whether the plan is that of the padded batch, `padded_plan`, for replayed steps;
            otherwise it is `plan`.
    """

    def __init__(self, model: nn.Module, *, padded: bool) -> None:
        self.model, self.padded = model, padded

    def __call__(self, batch: Any) -> Any:
        make = getattr(self.model, "plan", None)
        if make is None or "plan" in batch or "batch" not in batch or ambiguous(batch):
            return batch
        if not self.padded:
            plan = make(**accepted(make, batch))
            if plan is not None:
                batch.plan = plan
            return batch
        stored = batch.to_dict()
        tensors = {k: v for k, v in stored.items() if k in NAMES and isinstance(v, Tensor)}
        real = sizes_of(tensors, int(batch.num_graphs))
        sizes = real.rounded()
        try:
            plan = plan_of_padded(self.model, padded(tensors, real, sizes), sizes)
        except (NotReplayableError, ValueError):
            return batch  # which is said where steps would be replayed
        if plan is not None:
            batch.padded_plan = plan
        return batch
