"""How symmetric is a task's model: equivariance errors on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

import geqlib.data  # noqa: F401  (the classes that checkpoints name)
from geqlib.files.checkpoint import build, description_of, load, model_file, read_checkpoint
from geqlib.frames.frame_counts import watch_frames
from geqlib.monoid.aggregation import MonoidAggregation, Order
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.groups import moves, parse_group
from geqlib.symmetry.types import parse_type
from geqlib.testing import equivariance_error, error_by_degree
from geqlib.train.steps.constraint import dual_prices
from geqlib.train.tasks.agreement import share_cutoff
from geqlib.train.tasks.task import Task

GRAPHS = 4


def symmetry_errors(
    task: Task,
    data: L.LightningDataModule,
    samples: int = 8,
    groups: Sequence[str] = (),
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, dict[str, float]]:
    """The equivariance errors of a task's outputs on a few graphs of the validation split.

    They are spread evenly over it, since neighbouring graphs are often alike: the first clouds of a
    data set can all be planar, so that no reflection shows.

    Relabelling is measured once more for each `order` of the model's `MonoidAggregation`s.

    Args:
        task: whose `inputs` and `outputs` say how tensors transform.
        data: with validation graphs.
        samples: random elements of each group.
        groups: further ones by name, such as "GL+(3)".
        progress: around the symmetries in each precision, for a progress bar.

    Returns:
        {symmetry: {"float32": error, "float64": error}}.

    Raises:
        ValueError: if there are no validation graphs, or a further group does not act on them.
    """
    share_cutoff(task.model, data)
    batch = _spread_graphs(data)
    for name in groups:
        task.check_group(batch, parse_group(name))
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
        every = _symmetries(task, batch) | {name: name for name in groups}
        measured = {name: measure(every[name]) for name in progress(list(every))}
        for name, error in (measured | _order_errors(task, measure)).items():
            errors.setdefault(name, {})[str(dtype).removeprefix("torch.")] = error
    return errors


def degree_errors(
    task: Task, data: L.LightningDataModule, degree: int = 2
) -> dict[int | str, float]:
    """The equivariance errors under rotations by degree: which irreps break the symmetry.

    Args:
        task, data: as of `symmetry_errors`.
        degree: highest one; see `geqlib.testing.error_by_degree`.

    Returns:
        degree -> error in float64, and "higher"; empty where no input of the task is rotated.
    """
    share_cutoff(task.model, data)
    batch = _spread_graphs(data)
    if not any(name.startswith("rotations SO") for name in _symmetries(task, batch)):
        return {}
    task = task.to(torch.float64).eval()
    typed, group = _inputs(task, batch, torch.float64), f"SO({batch['pos'].size(-1)})"
    return error_by_degree(_function(task, batch), typed, task.outputs, group, degree)


def degenerate_frames(
    task: Task, data: L.LightningDataModule, batches: int = 8
) -> list[tuple[int, int]]:
    """Frames of the model in batches of the validation split, and degenerate ones among them.

    Args:
        task, data: as of `symmetry_errors`.
        batches: how many are counted at most.

    Returns:
        (frames, degenerate ones) of each batch; empty for models without frames of points.
    """
    share_cutoff(task.model, data)
    task, shares = task.float().eval(), []
    for batch, _ in zip(_validation_loader(data), range(batches), strict=False):
        batch.plan = None
        function, inputs = _function(task, batch), _inputs(task, batch, torch.float32)
        with watch_frames() as counts:
            function(**{name: x for name, (x, _) in inputs.items()})
        if not counts:
            return []
        shares.append((sum(n for n, _ in counts), sum(bad for _, bad in counts)))
    return shares


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


def dual_variables(checkpoint: str | Path) -> dict[str, dict[str, float]]:
    """The dual variables of a run's constraints by group, see `dual_prices`.

    Of a run's folder they are those at the end, whichever epoch its best model is of.
    """
    folder = Path(checkpoint)
    last = (folder / part / "last.ckpt" for part in ("checkpoints", ""))
    file = next((file for file in last if file.is_file()), None)
    return dual_prices(read_checkpoint(model_file(checkpoint) if file is None else file))


def _symmetries(task: Task, batch: Data) -> dict[str, str | Tensor]:
    """The groups that move some input of the task."""
    groups: dict[str, str | Tensor] = {"relabelling S_n": "S_n"}
    if "pos" in batch:
        dim = batch["pos"].size(-1)
        groups[f"translations T({dim})"] = f"T({dim})"
        if dim == 3:
            for name in ("tetrahedral", "octahedral", "icosahedral"):
                groups[f"{name} rotations"] = rotation_group(name)
        groups[f"rotations SO({dim})"] = f"SO({dim})"
        groups[f"and reflections O({dim})"] = f"O({dim})"
    types = [parse_type(key, text) for key, text in task.inputs.items() if key in batch]
    return {
        name: group
        for name, group in groups.items()
        if any(moves(parse_group(group), type_) for type_ in types)
    }


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


def _validation_loader(data: L.LightningDataModule) -> Any:
    data.prepare_data()
    data.setup("validate")
    loader: Any = data.val_dataloader()
    return loader[0] if isinstance(loader, list) else loader


def _spread_graphs(data: L.LightningDataModule) -> Data:
    dataset = _validation_loader(data).dataset
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
