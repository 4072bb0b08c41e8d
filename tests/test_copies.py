"""What a user builds goes to other processes and is copied: layers and models in the contract
suite, here all that surrounds them."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from geqlib.calculators import GeqCalculator
from geqlib.data import GraphData, MoleculeData, MultitaskData, NBodyData
from geqlib.models import FAGIN, FAMLP, PONITA, SPEN, GauntNet, Potential
from geqlib.train import EnergyForces
from geqlib.train.run import Run, fit

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def saved(value: Any) -> Any:
    """As `torch.save(model)` does, of a user's own files."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = pytest.mark.parametrize("copied", [pickled, saved, deepcopy], ids=lambda f: f.__name__)


@COPIES
@pytest.mark.parametrize("orders", ["canonical", "laplacian", "random"])
@pytest.mark.parametrize("cls", [FAMLP, FAGIN], ids=lambda cls: cls.__name__)
def test_networks_on_node_orders(cls: Any, orders: str, copied: Any) -> None:
    """Their frames are functions with options."""
    net = cls(1, 2, max_nodes=4, orders=orders)
    results = []
    for own in (net, copied(net)):
        torch.manual_seed(0)
        results.append(own(torch.ones(3, 1), EDGES))
    assert torch.equal(*results)


@COPIES
@pytest.mark.parametrize("kind", ["MoleculeData", "NBodyData", "GraphData", "MultitaskData"])
def test_data_modules_with_their_data(kind: str, copied: Any, tmp_path: Path) -> None:
    """Before and after the data are there, neighbours, ego nets and streams included."""
    for data in modules(kind, tmp_path):
        early = copied(data)
        data.setup()
        late = copied(data)
        early.setup()
        for other in (early, late):
            pairs = zip(data.train_dataloader(), other.train_dataloader(), strict=True)
            for ours, theirs in pairs:
                assert torch.equal(ours.edge_index, theirs.edge_index)


def modules(kind: str, folder: Path) -> list[Any]:
    if kind == "NBodyData":
        return [NBodyData(4, train=8, val=2, test=2, input_frame=3, target_frame=5)]
    if kind == "MultitaskData":
        return [MultitaskData(4, train=1, val=1, test=1, starts=(15,))]
    if kind == "GraphData":
        graphs = [nx.cycle_graph(3 + k % 3) for k in range(20)]
        return [GraphData.from_networkx(graphs, [0, 1] * 10, num_folds=5, hops=1)]
    keys: Any = {"cutoff": 3.0, "energy_key": "E", "forces_key": None, "batch_size": 4}
    path = str(structures(folder))
    return [MoleculeData(path, 3, stream=stream, **keys) for stream in (False, True)]


def structures(folder: Path) -> Path:
    frames = [Atoms("H2", [[0, 0, 0], [0, 0, r]], info={"E": r}) for r in np.linspace(0.7, 1.4, 9)]
    write(folder / "h2.xyz", frames, format="extxyz")
    return folder / "h2.xyz"


@COPIES
@pytest.mark.filterwarnings("ignore")
def test_tasks_that_were_trained(copied: Any, tmp_path: Path) -> None:
    """With their metrics, and what an epoch left in the model."""
    keys: Any = {"cutoff": 3.0, "energy_key": "E", "forces_key": None}
    data = MoleculeData(str(structures(tmp_path)), 3, 2, **keys)
    task = EnergyForces(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0), forces_weight=0.0)
    trainer = {"default_root_dir": str(tmp_path), "max_epochs": 1, "accelerator": "cpu"}
    fit(Run(task, data, trainer | {"enable_progress_bar": False}, monitor="val/energy_mae"))
    batch = next(iter(data.test_dataloader()))
    other = copied(task)
    assert torch.equal(*(each.predict_outputs(batch)["energy"] for each in (task, other)))


@COPIES
def test_calculators(copied: Any) -> None:
    """ASE's optimisers and band methods copy calculators."""
    net = GauntNet(["H", "O"], channels=4, degree=1, order=2, cutoff=4.0)
    calculator = GeqCalculator(Potential(net), cutoff=4.0)
    water = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    forces = []
    for own in (calculator, copied(calculator)):
        water.calc = own
        forces.append(water.get_forces())
    np.testing.assert_array_equal(*forces)


@pytest.mark.slow
def test_models_and_plans_go_to_processes_that_are_spawned() -> None:
    """Which import geqlib anew, as the workers of loaders and sweeps do on some systems."""
    torch.manual_seed(0)
    net = SPEN(1, 2, channels=4, layers=1).eval()
    plan = net.plan(EDGES, 3)
    expected = net(torch.ones(3, 1), EDGES, plan=plan)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result, other = pool.apply(evaluated, (net, plan))
    torch.testing.assert_close(result, expected.detach())
    assert type(other) is type(plan)


def evaluated(net: Any, plan: Any) -> Any:
    return net(torch.ones(3, 1), EDGES, plan=plan).detach(), plan
