"""Several processes that train or evaluate together: what each of them has, brought together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric


@dataclass(frozen=True)
class PredictedBatch:
    """What was predicted for one batch.

    Args:
        loader: number of the data loader.
        graphs: how many the batch has.
        tensors: by name; "batch" is the graph of each node, counted in this batch.
    """

    loader: int
    graphs: int
    tensors: dict[str, Tensor]


def joined_predictions(shares: Sequence[Sequence[PredictedBatch]]) -> dict[str, Tensor]:
    """The predictions for all graphs, in the order of the data.

    Args:
        shares: the batches of each process, in their order; of each loader, process 0 has the first
            graphs, process 1 the next.

    Raises:
        ValueError: if there are none.

    Example:
        >>> parts = [PredictedBatch(0, 1, {"y": torch.full((1,), float(k))}) for k in range(3)]
        >>> joined_predictions([parts[:2], parts[2:]])["y"].tolist()
        [0.0, 1.0, 2.0]
    """
    # which leaves the batches of one loader in the order of the processes
    batches = sorted((part for share in shares for part in share), key=lambda part: part.loader)
    if not batches:
        raise ValueError("There is nothing to predict: the test split has no structures.")
    graphs, numbered = 0, []
    for part in batches:
        own = {"batch": part.tensors["batch"] + graphs} if "batch" in part.tensors else {}
        numbered.append(part.tensors | own)
        graphs += part.graphs
    return {key: torch.cat([part[key] for part in numbered]).contiguous() for key in numbered[0]}


def gathered(value: Any) -> list[Any] | None:
    """This value of every process, of any size, by rank; None except in the first process.

    All processes must call it.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    first = dist.get_rank() == 0
    values: list[Any] | None = [None] * dist.get_world_size() if first else None
    dist.gather_object(value, values)
    return values


class Uncounted:
    """The metrics below a module, as they were before a batch that does not count.

    Args:
        module: whose metrics are kept.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        # by identity: the hash of a metric changes with its state
        self.states = {id(metric): _state(metric) for metric in _metrics(module)}

    def restore(self) -> None:
        """Undo what was counted since; metrics that were made since are as new."""
        for metric in _metrics(self.module):
            state = self.states.get(id(metric)) or _state(metric, metric._defaults)
            for name, value in state.items():
                setattr(metric, name, value)


def _metrics(module: nn.Module) -> Iterator[Metric]:
    return (part for part in module.modules() if isinstance(part, Metric))


def _state(metric: Metric, values: dict[str, Any] | None = None) -> dict[str, Any]:
    values = metric.metric_state if values is None else values
    return {
        name: list(value) if isinstance(value, list) else value.clone().to(metric.device)
        for name, value in values.items()
    }
