"""Tasks and data modules built with arguments that are not plain values leave checkpoints that can
be read, and are the ones that plain values make."""

from __future__ import annotations

import enum
import inspect
from pathlib import Path
from typing import Any

import lightning as L
import networkx as nx
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from e3nn import o3
from torch import nn

import geqlib
import geqlib.data
import geqlib.train
from geqlib.data import GraphData, MoleculeData, MultitaskData, NBodyData, PointCloudData, SetData
from geqlib.files.checkpoint import read_checkpoint
from geqlib.models import PARD, PONITA
from geqlib.train import DisplacementTask, GraphDiffusion, Task
from geqlib.train.resume import SafeCheckpointIO

quiet = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
TASKS: list[Any] = [
    cls
    for cls in vars(geqlib.train).values()
    if inspect.isclass(cls) and issubclass(cls, Task) and cls is not Task
]
MODULES: list[Any] = [
    cls
    for cls in (getattr(geqlib.data, name) for name in geqlib.data.__all__)
    if inspect.isclass(cls) and issubclass(cls, L.LightningDataModule)
]
NEEDED = {
    "classes": 2,
    "name": "MUTAG",
    "cutoff": 3.0,
    "train": "frames.xyz",
    "module": None,
    "properties": {"y": "vector"},
    "targets": ["a", "b"],
    "file": "molecules.csv",
    "levels": {"low": {"train": "frames.xyz"}, "high": {"train": "frames.xyz"}},
    "source": "frames.xyz",
}
NAMES = {
    "MD17Data": "revised aspirin",
    "MoleculeNetData": "esol",
    "OgbMoleculeData": "ogbg-molesol",
}


def numpy_like(value: Any) -> Any:
    """A value as a script that computes its arguments might give it."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, (list, tuple)):
        return np.array(value)
    kinds = {int: np.int64, float: np.float64, str: np.str_}
    return kinds[type(value)](value) if type(value) in kinds else value


def defaults(cls: Any) -> dict[str, Any]:
    """Values of all arguments but the model."""
    values = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name != "model":
            empty = parameter.default is parameter.empty
            values[name] = NEEDED.get(name) if empty else parameter.default
    if cls.__name__ in NAMES:
        values["name"] = NAMES[cls.__name__]
    return values


def odd(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same values as numpy's, and a path for the cache."""
    like = {name: numpy_like(value) for name, value in values.items()}
    return like | ({"cache": folder} if "cache" in values else {})


def stored(arguments: Any, path: Path) -> dict[str, Any]:
    """Arguments as a checkpoint gives them back."""
    SafeCheckpointIO().save_checkpoint({"state_dict": {}, "arguments": dict(arguments)}, path)
    return read_checkpoint(path)["arguments"]


def same_but_for_lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [same_but_for_lists(part) for part in value]
    return value


@pytest.mark.parametrize("cls", [*TASKS, *MODULES], ids=lambda cls: cls.__name__)
def test_arguments_of_numpy_are_kept_as_plain_ones(cls: Any, tmp_path: Path) -> None:
    """Of every task and data module, all arguments at once."""
    model = {"model": PONITA(1, 1, 1, 1, channels=4, layers=1)} if issubclass(cls, Task) else {}
    values = defaults(cls)
    cache = {"cache": str(tmp_path)} if "cache" in values else {}
    expected = cls(**model, **(values | cache)).hparams
    remaining = stored(cls(**model, **odd(values, tmp_path)).hparams, tmp_path / "a.ckpt")
    assert remaining.keys() == dict(expected).keys() and "model" not in remaining
    for name, value in expected.items():
        assert same_but_for_lists(remaining[name]) == same_but_for_lists(value), name
        assert isinstance(value, (list, tuple)) or type(remaining[name]) is type(value), name


@quiet
@pytest.mark.parametrize("cls", TASKS, ids=lambda cls: cls.__name__)
def test_checkpoints_of_every_task_are_read_and_resumed(cls: Any, tmp_path: Path) -> None:
    """With the states of optimiser and schedule."""
    small = {"channels": 4, "layers": 1}
    pairs = {"pair_channels": 4, "heads": 2}
    model = PARD(5, 4, **small, **pairs) if cls is GraphDiffusion else PONITA(1, 1, 1, 1, **small)
    task = cls(model, **(odd(defaults(cls), tmp_path) | {"lr": np.float64(0.1)}))
    data = NBodyData(4, train=8, val=2, test=2, input_frame=3, target_frame=5)
    trainer = started(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert type(trainer.optimizers[0].param_groups[0]["weight_decay"]) is float
    assert read_checkpoint(tmp_path / "a.ckpt")["hyper_parameters"]["lr"] == 0.1
    read = geqlib.load(tmp_path / "a.ckpt", model=task.model)
    assert read is task.model
    started(task, data, ckpt_path=tmp_path / "a.ckpt")


def started(task: Any, data: Any, *callbacks: Any, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        max_epochs=0,
        accelerator="cpu",
        logger=False,
        num_sanity_val_steps=0,
        plugins=[SafeCheckpointIO()],
        callbacks=list(callbacks),
    )
    trainer.fit(task, data, **options)
    return trainer


def frames(folder: Path) -> str:
    atoms = [Atoms("H2", [[0, 0, 0], [0, 0, r]], info={"E": r}) for r in np.linspace(0.7, 1.4, 12)]
    write(folder / "h2.xyz", atoms, format="extxyz")
    return str(folder / "h2.xyz")


def small_modules(folder: Path, odd: Any) -> dict[str, Any]:
    """Data modules whose data are made in a moment."""
    rings = [shape(3 + k % 3) for k in range(10) for shape in (nx.cycle_graph, nx.path_graph)]
    keys = {"energy_key": "E", "forces_key": None}
    sizes = {"train": odd(6), "val": odd(3), "test": odd(3), "data_seed": odd(1)}
    seed = {"shuffle_seed": odd(2)}
    return {
        "MoleculeData": MoleculeData(
            frames(folder), odd(3), odd(0.25), cutoff=odd(3.0), batch_size=odd(2), **keys, **seed
        ),
        "NBodyData": NBodyData(
            odd(2),
            charges=odd((-1.0, 1.0)),
            input_frame=odd(3),
            target_frame=odd(5),
            **sizes,
            **seed,
        ),
        "PointCloudData": PointCloudData(
            batch_size=odd(2), points=odd(8), kinds=odd(("torus", "cylinder")), **sizes, **seed
        ),
        "MultitaskData": MultitaskData(
            odd(2), train=odd(1), val=odd(1), test=odd(1), starts=odd((15,)), **seed
        ),
        "SetData": SetData(odd(2), test_sizes=odd((3, 5)), **sizes, **seed),
        "GraphData": GraphData.from_networkx(
            rings, odd((0, 1) * 10), fold=odd(1), num_folds=odd(5), batch_size=odd(2), **seed
        ),
    }


SMALL = ("MoleculeData", "NBodyData", "PointCloudData", "MultitaskData", "SetData", "GraphData")


@pytest.mark.parametrize("name", SMALL)
def test_batches_are_those_of_plain_arguments(name: str, tmp_path: Path) -> None:
    """Batch sizes, seeds, splits, folds, sizes and keys of caches."""
    batches = []
    for kind in (numpy_like, lambda value: list(value) if isinstance(value, tuple) else value):
        data = small_modules(tmp_path, kind)[name]
        data.prepare_data()
        data.setup()
        tests = data.test_dataloader()
        loaders = [data.train_dataloader(), *(tests if isinstance(tests, list) else [tests])]
        batches.append([batch.to_dict() for loader in loaders for batch in loader])
    for ours, theirs in zip(*batches, strict=True):
        for key, value in ours.items():
            other = theirs[key]
            assert torch.equal(value, other) if torch.is_tensor(value) else value == other, key


def test_paths_name_files_of_structures(tmp_path: Path) -> None:
    """One path object, or several, in place of text."""
    path = Path(frames(tmp_path))
    for train in (path, [path]):
        data = MoleculeData(train, 2, cutoff=3.0, energy_key="E", forces_key=None)
        data.setup()
        assert len(data.splits["train"]) == 10
        assert data.hparams["train"] == ([str(path)] if isinstance(train, list) else str(path))


@pytest.mark.parametrize(
    ("cls", "argument"), [(DisplacementTask, "weight_decay"), (NBodyData, "data_seed")]
)
def test_what_is_no_value_is_refused_when_it_is_given(cls: Any, argument: str) -> None:
    model = {"model": nn.Linear(1, 1)} if cls is DisplacementTask else {}
    sentence = rf"The argument {argument} of {cls.__name__} is a function, which a checkpoint"
    with pytest.raises(ValueError, match=sentence):
        cls(**model, **{argument: frames})


def test_arguments_of_tasks_of_ones_own(tmp_path: Path) -> None:
    """Modules are left out, as the model is; irreps, tensors and enumerations are converted."""

    class Own(Task):
        def __init__(self, model: Any, irreps: Any, weights: Any, head: Any, how: Any) -> None:
            super().__init__(model, lr=1.0)

    class How(enum.Enum):
        FAST = "fast"

    task = Own(nn.Linear(1, 1), o3.Irreps("2x0e"), torch.ones(2), nn.Linear(1, 1), How.FAST)
    expected = {"irreps": "2x0e", "weights": [1.0, 1.0], "how": "fast"}
    remaining = stored(task.hparams, tmp_path / "a.ckpt")
    assert remaining == dict(task.hparams) and {k: remaining[k] for k in expected} == expected
    assert not remaining.keys() & {"model", "head"}


@quiet
def test_states_of_callbacks_are_converted_or_refused(tmp_path: Path) -> None:
    """The last place where something that is no value could enter a checkpoint."""

    class Best(L.Callback):
        state: Any = np.float32(0.5)

        def state_dict(self) -> dict[str, Any]:
            return {"best": self.state, "history": np.arange(2)}

    task = DisplacementTask(PONITA(1, 1, 0, 1, channels=4, layers=1))
    data = NBodyData(4, train=8, val=2, test=2, input_frame=3, target_frame=5)
    trainer = started(task, data, Best())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    callbacks = read_checkpoint(tmp_path / "a.ckpt")["callbacks"]
    state = next(state for state in callbacks.values() if "best" in state)
    assert state["best"] == 0.5 and state["history"].tolist() == [0, 1]
    Best.state = Best
    with pytest.raises(ValueError, match=r"\['callbacks'\].*\['best'\] is a type"):
        trainer.save_checkpoint(tmp_path / "b.ckpt")
    assert not (tmp_path / "b.ckpt").exists()
