"""How symmetric is a task's model: equivariance errors on validation data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

import geqlib.data  # noqa: F401  (the classes that checkpoints name)
from geqlib.files.checkpoint import build, description_of, load, model_file, read_checkpoint
from geqlib.monoid.aggregation import MonoidAggregation, Order
from geqlib.sphere.grids import rotation_group
from geqlib.testing import equivariance_error
from geqlib.train.tasks.agreement import share_cutoff
from geqlib.train.tasks.task import Task

GRAPHS = 4


def symmetry_errors(
    task: Task, data: L.LightningDataModule, samples: int = 8
) -> dict[str, dict[str, float]]:
    """The equivariance errors of a task's outputs on a few graphs of the validation split.

    They are spread evenly over it, since neighbouring graphs are often alike: the first clouds of a
    data set can all be planar, so that no reflection shows.

    Relabelling is measured once more for each `order` of the model's `MonoidAggregation`s.

    Args:
        task: whose `inputs` and `outputs` say how tensors transform.
        data: with validation graphs.
        samples: random elements of each group.

    Returns:
        {symmetry: {"float32": error, "float64": error}}.

    Raises:
        ValueError: if there are no validation graphs.
    """
    share_cutoff(task.model, data)
    batch = _spread_graphs(data)
    errors: dict[str, dict[str, float]] = {}
    # float64 first: it needs the constants that a cast to float32 would round
    for dtype in (torch.float64, torch.float32):
        task = task.to(dtype).eval()
        measure = partial(
            equivariance_error,
            _function(task, batch),
            _inputs(task, batch, dtype),
            task.outputs,
            samples=samples,
        )
        measured = {name: measure(group) for name, group in _symmetries(batch).items()}
        for name, error in (measured | _order_errors(task, measure)).items():
            errors.setdefault(name, {})[str(dtype).removeprefix("torch.")] = error
    return errors


def task_and_data(checkpoint: str | Path) -> tuple[Task, L.LightningDataModule]:
    """The task and the data module of a checkpoint of `geqlib fit`.

    Raises:
        ValueError: if the checkpoint does not describe them.
    """
    checkpoint = model_file(checkpoint)
    stored = read_checkpoint(checkpoint)
    task, data = (
        description_of(stored.get(key))
        for key in ("hyper_parameters", "datamodule_hyper_parameters")
    )
    if not (task and data):
        raise ValueError(
            f"The checkpoint {checkpoint} was not written by `geqlib fit`: check it with "
            "--config FILE."
        )
    return build(task, Task, load(checkpoint)), build(data, L.LightningDataModule)


def _symmetries(batch: Data) -> dict[str, str | Tensor]:
    groups: dict[str, str | Tensor] = {"relabelling S_n": "S_n"}
    if "pos" not in batch:
        return groups
    dim = batch["pos"].size(-1)
    groups[f"translations T({dim})"] = f"T({dim})"
    if dim == 3:
        for name in ("tetrahedral", "octahedral", "icosahedral"):
            groups[f"{name} rotations"] = rotation_group(name)
    return groups | {f"rotations SO({dim})": f"SO({dim})", f"and reflections O({dim})": f"O({dim})"}


def _order_errors(task: Task, measure: Callable[[str], float]) -> dict[str, float]:
    """Of relabelling, for each order in which learnt aggregations can take their elements."""
    layers = [m for m in task.model.modules() if isinstance(m, MonoidAggregation) and not m.exact]
    before, errors = [layer.order for layer in layers], {}
    for order in Order.__args__ if layers else ():
        for layer in layers:
            layer.order = order
        errors[f"S_n, order={order!r}"] = measure("S_n")
    for layer, order in zip(layers, before, strict=True):
        layer.order = order
    return errors


def _inputs(task: Task, batch: Data, dtype: torch.dtype) -> dict[str, tuple[Tensor, str]]:
    typed = {key: (batch[key], kind) for key, kind in task.inputs.items() if key in batch}
    return {
        key: (value.to(dtype) if value.is_floating_point() else value, kind)
        for key, (value, kind) in typed.items()
    }


def _function(task: Task, batch: Data) -> Any:
    def outputs(**tensors: Tensor) -> dict[str, Tensor]:
        transformed = batch.clone()
        for key, value in tensors.items():
            transformed[key] = value
        with torch.no_grad():
            return task.predict_outputs(transformed)

    return outputs


def _spread_graphs(data: L.LightningDataModule) -> Data:
    data.prepare_data()
    data.setup("validate")
    loader: Any = data.val_dataloader()
    dataset = (loader[0] if isinstance(loader, list) else loader).dataset
    if len(dataset) == 0:
        raise ValueError("The validation split is empty: geqlib check has nothing to measure on.")
    count = min(GRAPHS, len(dataset))
    numbers = [k * len(dataset) // count for k in range(count)]
    batch: Any
    if hasattr(dataset, "__getitems__"):
        batch = dataset.__getitems__(numbers)
    else:  # a data set of torch_geometric
        batch = Batch.from_data_list([dataset[k] for k in numbers])
    batch.plan = None  # it belongs to one labelling of the nodes
    return batch
