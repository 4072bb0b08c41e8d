"""The `geqlib check` command: how symmetric is this model, measured?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Data

import geqlib.data  # noqa: F401  (the classes that checkpoints name)
from geqlib.files.checkpoint import build, load, read_checkpoint
from geqlib.monoid.aggregation import MonoidAggregation, Order
from geqlib.sphere.grids import rotation_group
from geqlib.testing import equivariance_error
from geqlib.train.task import Task

GRAPHS = 4


def check_model(
    checkpoint: Path | None, config: Path | None, samples: int, console: Console | None = None
) -> dict[str, dict[str, float]]:
    """Print the equivariance error of a task's outputs on validation data, symmetry by symmetry.

    Relabelling is measured once more for each `order` of the model's `MonoidAggregation`s.

    Args:
        checkpoint: of `geqlib fit`, or None.
        config: configuration of an untrained model, or None.
        samples: random elements of each group.
        console: where the table goes.

    Returns:
        {symmetry: {"float32": error, "float64": error}}.
    """
    task, data = _from_config(config) if checkpoint is None else _from_checkpoint(checkpoint)
    batch = _first_graphs(data)
    errors: dict[str, dict[str, float]] = {}
    # float64 first: it needs the constants that a cast to float32 would round
    for dtype in (torch.float64, torch.float32):
        task = task.to(dtype).eval()
        inputs = _inputs(task, batch, dtype)
        fn = _function(task, batch)
        measure = partial(equivariance_error, fn, inputs, task.outputs, samples=samples)
        found = {name: measure(group) for name, group in _symmetries(batch).items()}
        for name, error in (found | _order_errors(task, measure)).items():
            errors.setdefault(name, {})[str(dtype).removeprefix("torch.")] = error
    _print(errors, task, console or Console())
    return errors


def _symmetries(batch: Data) -> dict[str, str | Tensor]:
    found: dict[str, str | Tensor] = {"relabelling S_n": "S_n"}
    if "pos" not in batch:
        return found
    dim = batch["pos"].size(-1)
    found[f"translations T({dim})"] = f"T({dim})"
    if dim == 3:
        for name in ("tetrahedral", "octahedral", "icosahedral"):
            found[f"{name} rotations"] = rotation_group(name)
    return found | {f"rotations SO({dim})": f"SO({dim})", f"and reflections O({dim})": f"O({dim})"}


def _order_errors(task: Task, measure: Callable[[str], float]) -> dict[str, float]:
    """Of relabelling, for each order in which learnt aggregations can take their elements."""
    layers = [m for m in task.model.modules() if isinstance(m, MonoidAggregation) and not m.exact]
    kept, errors = [layer.order for layer in layers], {}
    for order in Order.__args__ if layers else ():
        for layer in layers:
            layer.order = order
        errors[f"S_n, order={order!r}"] = measure("S_n")
    for layer, order in zip(layers, kept, strict=True):
        layer.order = order
    return errors


def _inputs(task: Task, batch: Data, dtype: torch.dtype) -> dict[str, tuple[Tensor, str]]:
    named = {key: (batch[key], kind) for key, kind in task.inputs.items() if key in batch}
    return {
        key: (value.to(dtype) if value.is_floating_point() else value, kind)
        for key, (value, kind) in named.items()
    }


def _function(task: Task, batch: Data) -> Any:
    def run(**tensors: Tensor) -> dict[str, Tensor]:
        moved = batch.clone()
        for key, value in tensors.items():
            moved[key] = value
        with torch.no_grad():
            return task.predict_outputs(moved)

    return run


def _first_graphs(data: L.LightningDataModule) -> Data:
    data.prepare_data()
    data.setup("validate")
    loader: Any = data.val_dataloader()
    dataset = (loader[0] if isinstance(loader, list) else loader).dataset
    if len(dataset) == 0:
        raise ValueError("The validation split is empty: geqlib check has nothing to measure on.")
    batch = dataset.__getitems__(range(min(GRAPHS, len(dataset))))
    batch.plan = None  # it belongs to one labelling of the nodes
    return batch


def _from_checkpoint(path: Path) -> tuple[Task, L.LightningDataModule]:
    stored = read_checkpoint(path)
    described = [
        _description(stored.get(key)) for key in ("hyper_parameters", "datamodule_hyper_parameters")
    ]
    if not all(described):
        raise ValueError(
            f"The checkpoint {path} was not written by `geqlib fit`: check it with --config FILE."
        )
    task, data = described
    return build(task, Task, load(path)), build(data, L.LightningDataModule)


def _description(arguments: Any) -> dict[str, Any]:
    """What `build` needs, of the hyperparameters that LightningCLI keeps; empty without a class."""
    if not isinstance(arguments, dict) or "_class_path" not in arguments:
        return {}
    others = ("_class_path", "_instantiator", "model")
    own = {key: value for key, value in arguments.items() if key not in others}
    return {"class_path": arguments["_class_path"], "init_args": own}


def _from_config(path: Path | None) -> tuple[Task, L.LightningDataModule]:
    from geqlib.train.cli import TrainCLI

    cli = TrainCLI(["--config", str(path)], run=False)
    return cli.model, cli.datamodule


def _print(errors: dict[str, dict[str, float]], task: Task, console: Console) -> None:
    table = Table(title=f"Equivariance error of {type(task.model).__name__}")
    table.add_column("symmetry")
    table.add_column("float32", justify="right")
    table.add_column("float64", justify="right")
    for name, row in errors.items():
        table.add_row(name, f"{row['float32']:.1e}", f"{row['float64']:.1e}")
    console.print(table)
    console.print("max |f(g x) - g f(x)| / max(1, max |f|), on validation graphs")
