"""One small run of every task, with data of a few graphs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import networkx as nx
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from geqlib.data import (
    GraphData,
    GraphGeneration,
    LevelsData,
    MoleculeData,
    MultitaskData,
    NBodyData,
    OwnGraphData,
    PropertyData,
    SetData,
    SubsetData,
)
from geqlib.data.column_scale import column_scale
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs
from geqlib.generation import Denoiser
from geqlib.models import (
    DGCNN,
    PARD,
    PONITA,
    SPEN,
    EquiVSet,
    GauntNet,
    MonoidGNN,
    PointNet,
    SetNetwork,
)
from geqlib.train import (
    BitsTask,
    ClassificationTask,
    DisplacementTask,
    EnergyForces,
    GraphClassificationTask,
    GraphDiffusion,
    GroupOrderingTask,
    LinkPredictionTask,
    MaskedClassificationTask,
    MaskedRegressionTask,
    MoleculeDiffusion,
    MultitaskTask,
    NodeClassificationTask,
    NormalsTask,
    PropertyTask,
    RegressionTask,
    SubsetTask,
    Task,
)
from geqlib.train.run import Run
from tests.train import tiny

SMALL = {"channels": 4, "layers": 1}


class Points(SplitLoaders):
    """Twelve clouds of six points, with normals and one target or class each."""

    def __init__(self, batch_size: int = 2, *, labels: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size, self.labels = batch_size, labels

    def setup(self, stage: str | None = None) -> None:
        draw = np.random.default_rng(0)
        pos = draw.normal(size=(72, 3))
        ring = np.stack([np.arange(6), (np.arange(6) + 1) % 6])
        arrays = {
            "nodes": [6] * 12,
            "edges": [6] * 12,
            "edge_index": np.concatenate([ring] * 12, 1),
            "pos": pos,
            "normal": pos / np.linalg.norm(pos, axis=1, keepdims=True),
            "y": np.arange(12) % 2 if self.labels else draw.normal(size=(12, 1)),
        }
        whole = PackedGraphs(arrays, {"pos": "node", "normal": "node", "y": "graph"})
        self.splits = {
            name: whole.subset(range(4 * k, 4 * k + 4))
            for k, name in enumerate(("train", "val", "test"))
        }

    def target_scale(self) -> tuple[float, float]:
        y = self.splits["train"].y.double()
        return float(y.mean()), float(y.std())


class Targets(Points):
    """The same, with two targets each, numbers or 0 and 1, of which a third is missing."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        draw = torch.Generator().manual_seed(1)
        for part in self.splits.values():
            y = torch.randn(len(part), 2, generator=draw)
            y = (y > 0).to(y.dtype) if self.labels else y
            y[::3, 0] = y[1::3, 1] = torch.nan
            part.arrays["y"] = y

    def target_scale(self) -> Any:
        return column_scale(self.splits["train"].arrays["y"])


def displacement(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    sizes = {"train": 8, "val": 4, "test": 4, "batch_size": 4, "input_frame": 0, "target_frame": 1}
    task = DisplacementTask(PONITA(1, 1, 0, 1, **SMALL, orientations=4), conjugate=True)
    return task, NBodyData(**sizes, cache=tiny.cache_folder()), "val/mse"


def normals(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    return (
        NormalsTask(DGCNN(0, 1, **SMALL, level="node", neighbors=3)),
        Points(),
        "val/error",
    )


def regression(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    return RegressionTask(PONITA(0, 0, 1, 0, **SMALL, level="graph")), Points(), "val/mae"


def classification(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    net = PONITA(0, 0, 2, 0, **SMALL, orientations=4, level="graph")
    return ClassificationTask(net, 2), Points(labels=True), "val/loss"


def graph_classification(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    graphs = [nx.cycle_graph(n) for n in range(3, 13)] + [nx.path_graph(n) for n in range(3, 13)]
    data = GraphData.from_networkx(graphs, [0] * 10 + [1] * 10, num_folds=5, batch_size=8, hops=1)
    return GraphClassificationTask(SPEN(2, 2, **SMALL), 2), data, "val/loss"


def multitask(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    data = MultitaskData(4, train=1, val=1, test=1, starts=[15], cache=tiny.cache_folder())
    return MultitaskTask(MonoidGNN(2, "max", out_node=3, out_graph=3)), data, "val/log_mse"


def bits(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    return (
        BitsTask(SetNetwork(4, "max")),
        SetData(4, train=8, val=4, test=2, test_sizes=(3, 5)),
        ("val/loss"),
    )


def energy(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    net = PONITA(4, 0, 1, 0, **SMALL, cutoff=3.5)
    return EnergyForces(net, stress_weight=1.0), copper(folder), "val/forces_rmse"


def energy_gaunt(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    return (
        EnergyForces(GauntNet(["Cu"], cutoff=3.5, channels=4, layers=1)),
        copper(folder),
        "val/loss",
    )


def copper(folder: Path) -> MoleculeData:
    write(folder / "copper.xyz", copper_frames())
    keys = {"cutoff": 3.5, "stress_key": "stress", "batch_size": 3, "eval_batch_size": 3}
    return MoleculeData(str(folder / "copper.xyz"), val=3, test=3, **keys)


@functools.cache
def copper_frames() -> list[Any]:
    frames = []
    for seed in range(9):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    return frames


def molecule_diffusion(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    write(folder / "water.xyz", water_frames(), format="extxyz")
    network = PONITA(3, 1, 2, 1, **SMALL, orientations=4)
    task = MoleculeDiffusion(Denoiser(network, ["H", "O"]), samples=3, sample_every=1, steps=2)
    data = MoleculeData(str(folder / "water.xyz"), 3, 3, forces_key=None, batch_size=2)
    return task, data, "val/loss"


def graph_diffusion(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    data = GraphGeneration.from_networkx([nx.path_graph(n) for n in range(1, 13)], 2)
    net = PARD(2, 2, channels=4, pair_channels=4, layers=1, heads=2, steps=2)
    net.first_size[1], net.largest[...] = 1, 12  # as if it was trained
    return GraphDiffusion(net, samples=1, sample_every=1), data, "val/loss"


def subsets(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    sizes: dict[str, Any] = {"size": 6, "chosen": 2, "test_sizes": (6, 9)}
    data = SubsetData("moons", 2, train=4, val=4, test=4, **sizes)
    net = EquiVSet(2, 4, hidden=4, background="superset", samples=2)
    return SubsetTask(net, lr=1e-3), data, "val/loss"


def properties(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    write(folder / "water.xyz", water_frames(), format="extxyz")
    named = {"mu": "graph:vector", "q": "scalar"}
    data = PropertyData(str(folder / "water.xyz"), named, 0.25, 0.25, batch_size=2, cutoff=4.0)
    return PropertyTask(PONITA(4, 0, 1, 1, **SMALL, cutoff=4.0), named), data, "val/loss"


def levels(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    frames = water_frames()
    write(folder / "low.xyz", frames, format="extxyz")
    write(folder / "high.xyz", frames[:8], format="extxyz")
    settings: dict[str, Any] = {"val": 2, "test": 2, "forces_key": None}
    names = {name: settings | {"train": str(folder / f"{name}.xyz")} for name in ("low", "high")}
    data = LevelsData(names, cutoff=4.0, batch_size=3, eval_batch_size=2)
    return (
        EnergyForces(PONITA(4, 0, 1, 0, **SMALL, cutoff=4.0), forces_weight=0.0),
        data,
        "val/loss",
    )


def water_frames() -> list[Any]:
    """Molecules with an energy, a vector, and a number of each atom."""
    draw, frames = np.random.default_rng(0), []
    for _ in range(12):
        atoms = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]])
        atoms.positions += 0.1 * draw.normal(size=(3, 3))
        atoms.info |= {"energy": float(draw.normal()), "mu": atoms.positions.sum(0)}
        atoms.arrays["q"] = draw.normal(size=3)
        frames.append(atoms)
    return frames


def masked_regression(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    net = PONITA(0, 0, 2, 0, **SMALL, orientations=4, level="graph")
    return MaskedRegressionTask(net, 2), Targets(), "val/std_mae"


def masked_classification(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    net = PONITA(0, 0, 2, 0, **SMALL, orientations=4, level="graph")
    return MaskedClassificationTask(net, 2), Targets(labels=True), "val/loss"


def node_classification(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    graphs = [nx.path_graph(6) for _ in range(12)]
    for graph in graphs:
        nx.set_node_attributes(graph, {v: graph.degree(v) == 1 for v in graph}, "end")
    options: dict[str, Any] = {"predict": "nodes", "target": "end", "batch_size": 2}
    data = OwnGraphData.from_graphs(graphs, val=0.33, test=0.33, **options)
    return NodeClassificationTask(MonoidGNN(2, "max", out_node=2), 2), data, "val/loss"


def link_prediction(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    graphs = [nx.path_graph(n) for n in range(12, 18)]
    options: dict[str, Any] = {"predict": "links", "batch_size": 2}
    data = OwnGraphData.from_graphs(graphs, val=0.2, test=0.2, **options)
    return LinkPredictionTask(MonoidGNN(2, "max", out_node=4)), data, "val/loss"


def group_ordering(folder: Path) -> tuple[Task, L.LightningDataModule, str]:
    task = GroupOrderingTask(PointNet(4, channels=4), rotate=True, noise=0.02)
    return task, Points(labels=True), "val/loss"


MAKERS: dict[str, Callable[[Path], tuple[Task, L.LightningDataModule, str]]] = {
    maker.__name__: maker
    for maker in (
        displacement,
        normals,
        regression,
        classification,
        graph_classification,
        multitask,
        bits,
        energy,
        energy_gaunt,
        molecule_diffusion,
        graph_diffusion,
        subsets,
        properties,
        levels,
        masked_regression,
        masked_classification,
        node_classification,
        link_prediction,
        group_ordering,
    )
}
TASKS = tuple(MAKERS)


class Parts(NamedTuple):
    task: Task
    data: L.LightningDataModule
    monitor: str


def parts(name: str, folder: Path) -> Parts:
    """A task, its data and what is monitored, with the same weights each time."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder.mkdir(exist_ok=True, parents=True)
    torch.manual_seed(0)
    return Parts(*MAKERS[name](folder))


def small_run(name: str, folder: Path, **options: Any) -> Run:
    """The run of a task in a folder, of two epochs of two batches."""
    task, data, monitor = parts(name, folder.with_name(f"{folder.name}-data"))
    few = {f"limit_{stage}_batches": 2 for stage in ("train", "val", "test", "predict")}
    plain = {"max_epochs": 2, "accelerator": "cpu", "default_root_dir": folder}
    quiet = {"enable_progress_bar": None if options.get("barebones") else False}
    mode = {"monitor": monitor, "ema": options.pop("ema", None)}
    return Run(task, data, few | plain | quiet | options, **mode)
