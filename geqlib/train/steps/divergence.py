"""Numbers that are NaN or infinite: which prediction, of which graph, and what the cause may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from geqlib.graph.many import largest_of

LARGE = 1e6  # no weight of a network that still learns
SHOWN = 5


def first_divergent(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; the host waits for them once.

    Example:
        >>> first_divergent({"energy": torch.ones(2), "forces": torch.tensor([1.0, float("nan")])})
        'forces'
    """
    floating = {name: x for name, x in tensors.items() if x.is_floating_point()}
    finite = [x.isfinite().all() for x in floating.values()]
    if not finite or bool(torch.stack(finite).all()):
        return None
    return next(name for name, whole in zip(floating, finite, strict=True) if not whole)


@dataclass(frozen=True)
class WatchedStep:
    """A step whose numbers are on the device, to be read together with those of others.

    Args:
        stage: "training", "validation" or "testing".
        epoch, batch_idx: where it is.
        batch: its batch.
        tensors: what is watched.
        finite: [] whether all of these are finite.
        largest: [] the largest absolute value of a weight before the step.
    """

    stage: str
    epoch: int
    batch_idx: int
    batch: Any
    tensors: Mapping[str, Tensor]
    finite: Tensor
    largest: Tensor


@torch.no_grad()
def on_device(tensors: Mapping[str, Tensor], weights: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Whether tensors are finite and the largest absolute weight, for which no host waits.

    Example:
        >>> on_device({"y": torch.tensor([float("inf")])}, [torch.tensor([1.0, -3.0])])
        (tensor(False), tensor(3.))
    """
    some = next(iter(tensors.values()))
    parts = [x.isfinite().all() for x in tensors.values() if x.is_floating_point()]
    finite = torch.stack(parts).all() if parts else some.new_ones((), dtype=torch.bool)
    return finite, largest_of(weights)


def first_bad(steps: Sequence[WatchedStep]) -> WatchedStep | None:
    """The first step with a number that is not finite; the host waits for all of them once."""
    finite = torch.stack([step.finite for step in steps]).tolist() if steps else []
    return next((step for step, whole in zip(steps, finite, strict=True) if not whole), None)


def divergent_graphs(tensors: Mapping[str, Tensor], batch: Any) -> list[int]:
    """Graphs of a batch with a value that is NaN or infinite, as far as this can be said.

    Args:
        tensors: with one entry per graph or per node; others are passed over.
        batch: with `batch` [N] and `num_graphs`.

    Example:
        >>> from torch_geometric.data import Batch
        >>> batch = Batch(batch=torch.tensor([0, 0, 1]), ptr=torch.tensor([0, 2, 3]))
        >>> divergent_graphs({"forces": torch.tensor([1.0, 1.0, float("inf")])}, batch)
        [1]
    """
    graph_of, graphs = getattr(batch, "batch", None), int(batch.num_graphs)
    numbers: set[int] = set()
    for x in tensors.values():
        if not x.is_floating_point() or x.dim() == 0:
            continue
        bad = ~x.isfinite()
        rows = (bad.flatten(1).any(1) if bad.dim() > 1 else bad).nonzero()[:, 0]
        if graph_of is not None and len(x) == len(graph_of):
            numbers.update(graph_of[rows].tolist())
        elif len(x) == graphs:
            numbers.update(rows.tolist())
    return sorted(numbers)


def graph_name(batch: Any, graph: int, noun: str = "graph") -> str:
    """A graph of a batch by its number in the data, where the batch has that."""
    index = getattr(batch, "index", None)
    if isinstance(index, Tensor) and len(index) == batch.num_graphs:
        return f"frame {int(index[graph])}"
    return f"{noun} {graph} of the batch"


def shortened(names: list[str]) -> str:
    """The first few of several names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def likely_cause(weights: Sequence[Tensor], precision: str, lr: float | None) -> str:
    """What to change, by what the weights look like.

    Args:
        weights: of the model.
        precision: of the trainer.
        lr: the learning rate; None outside of training.

    Example:
        >>> likely_cause([torch.tensor([float("nan")])], "32-true", 0.1)
        'the weights are NaN or infinite, too: lower the learning rate, which is 0.1'
    """
    divergent = not all(bool(w.isfinite().all()) for w in weights)
    state = "are NaN or infinite, too" if divergent else "have grown beyond 1e6"
    if divergent or any(w.numel() and float(w.abs().max()) > LARGE for w in weights):
        remedy = "use another checkpoint" if lr is None else "lower the learning rate, which is"
        return f"the weights {state}: {remedy}" + ("" if lr is None else f" {lr:g}")
    if precision.startswith("16"):
        return (
            f"the weights are finite, but the largest number of precision {precision} is 65504: "
            "use bf16-mixed or 32-true"
        )
    look = "look at that input (points in one place, huge numbers or labels)"
    return f"the weights are finite: {look}" + ("" if lr is None else f", or lower lr, now {lr:g}")


def intact_checkpoints(trainer: L.Trainer) -> str:
    """That the checkpoints of a diverging run stay, and where they are."""
    paths = {
        path
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint)
        for path in (callback.best_model_path, callback.last_model_path)
        if path and Path(path).exists()
    }
    if not paths:
        return "there is no checkpoint of an earlier epoch"
    listed = " and ".join(sorted(map(str, paths)))
    return f"the last good checkpoint stays as it is ({listed})"


def finite_weights(module: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether all parameters of a module are finite in a state dict of it."""
    names = [name for name, _ in module.named_parameters()]
    return first_divergent({k: state[k] for k in names if isinstance(state.get(k), Tensor)}) is None
