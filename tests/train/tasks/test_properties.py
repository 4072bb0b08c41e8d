"""Properties of structures and atoms are learnt at once, with the symmetry of their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase.io import write
from torch import Tensor, nn

from geqlib.atoms.properties import AtomProperties
from geqlib.cli import main
from geqlib.data import PropertyData
from geqlib.graph import neighbor_list
from geqlib.models import PONITA, GauntNet
from geqlib.testing import assert_equivariant
from geqlib.train import PropertyTask
from geqlib.train.run import Run, fit
from tests.data.molecules.test_properties import TYPES, frames

GAUNT: dict[str, Any] = {"elements": ["H", "C", "N", "O"], "channels": 4, "cutoff": 3.0}


class Numbers(nn.Module):
    """Two scalars of each atom, by its element, and a vector, its position."""

    cutoff = 3.0

    def forward(self, pos: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([z, 2 * z], 1).to(pos.dtype), pos[:, None]


def batch_of(tmp_path: Path, properties: dict[str, str], **options: Any) -> Any:
    write(tmp_path / "own.xyz", frames(), format="extxyz")
    settings: dict[str, Any] = {"val": 0, "test": 0, "cutoff": 3.0} | options
    data = PropertyData(tmp_path / "own.xyz", properties, **settings)
    data.setup()
    return data.splits["train"].__getitems__([0, 1, 2])


def test_sums_means_and_atoms(tmp_path: Path) -> None:
    properties = {"gap": "graph:scalar", "q": "scalar", "mu": "graph:vector"}
    batch = batch_of(tmp_path, properties)
    for intensive in ([], ["gap"]):
        model = AtomProperties(Numbers(), properties, intensive)
        model.mean_gap.fill_(0.5)
        model.scale_gap.fill_(3.0)
        out = model(batch.pos, batch.z, batch.edge_index, batch=batch.batch, num_graphs=3)
        for g in range(3):
            own = batch.batch == g
            z, atoms = batch.z[own].float(), int(own.sum())
            total = 0.5 + 3 * z.mean() if intensive else 0.5 * atoms + 3 * z.sum()
            assert float(out["gap"][g]) == pytest.approx(float(total), rel=1e-6)
            assert torch.allclose(out["mu"][g], batch.pos[own].sum(0), atol=1e-6)
        assert torch.equal(out["q"][:, 0], 2.0 * batch.z)


def test_loss_is_that_of_a_loop(tmp_path: Path) -> None:
    properties = {"gap": "graph:scalar", "q": "scalar"}
    batch = batch_of(tmp_path, properties)
    batch.q[2] = torch.nan
    task = PropertyTask(Numbers(), properties, loss="mae")
    task.model.scale_gap.fill_(2.0)
    out = task.predict_outputs(batch)
    gap = [
        abs(float(out["gap"][g] - batch.gap[g])) / 2 / int((batch.batch == g).sum())
        for g in range(3)
    ]
    q = [abs(float(out["q"][i] - batch.q[i])) for i in range(len(batch.q)) if i != 2]
    assert float(task.loss(batch)) == pytest.approx((np.mean(gap) + np.mean(q)) / 2, rel=1e-5)
    errors: Any = task.metrics(batch, "val")
    assert float(errors["mae_q"].compute()) == pytest.approx(np.mean(q), rel=1e-5)


def test_statistics_are_those_of_an_atom() -> None:
    model = AtomProperties(Numbers(), {"gap": "graph:scalar", "mu": "graph:vector"})
    atoms = torch.tensor([2, 4, 5])
    values = torch.tensor([[2.0], [12.0], [torch.nan]])
    model.set_statistics("gap", values, atoms)
    assert float(model.mean_gap) == 2.0 and float(model.scale_gap) == 1.0
    model.set_statistics("mu", torch.tensor([[3.0, 0, 0], [0, 0, 0]]), None)
    assert model.mean_mu.tolist() == [0, 0, 0]  # a mean vector is no invariant
    assert float(model.scale_mu) == pytest.approx(np.sqrt(9 / 6))


@pytest.mark.parametrize("network", ["PONITA", "GauntNet"])
def test_outputs_turn_as_their_types_say(network: str) -> None:
    torch.manual_seed(0)
    types = {"gap": "graph:scalar", "mu": "graph:vector", "spin": "vector"}
    net: nn.Module = PONITA(4, 0, 1, 2, channels=4, layers=1, cutoff=3.0, space="R3")
    if network == "GauntNet":
        types = {"gap": "graph:scalar", "mu": "graph:vector", "alpha": "2e"}
        net = GauntNet(**GAUNT, irreps_out="0e+1o+2e")
    model = AtomProperties(net, types).double()
    pos, z = torch.randn(6, 3).double(), torch.tensor([1, 6, 7, 8, 1, 1])
    edge_index = neighbor_list(pos, 3.0).edge_index
    batch = torch.tensor([0, 0, 0, 1, 1, 1])
    within = batch[edge_index[0]] == batch[edge_index[1]]

    def run(pos: Tensor, z: Tensor, edge_index: Tensor, batch: Tensor) -> Any:
        return model(pos, z, edge_index, batch=batch, num_graphs=2)

    inputs = {
        "pos": (pos, "point"),
        "z": (z, "index"),
        "edge_index": (edge_index[:, within], "edge_index"),
        "batch": (batch, "batch"),
    }
    assert_equivariant(run, inputs, types, "O(3)")
    assert_equivariant(run, inputs, types, "S_n")


@pytest.mark.parametrize(
    ("net", "properties", "message"),
    [
        (Numbers(), {"a": "scalar", "b": "scalar", "c": "scalar"}, "'c' needs 1x0e, but of the o"),
        (
            Numbers(),
            {"a": "2e"},
            "'a' needs 1x2e, but of the outputs of Numbers there are left",
        ),
        (
            PONITA(4, 0, 1, 0, channels=4, layers=1, level="graph", cutoff=3.0),
            {"a": "scalar"},
            'PONITA gives values of graphs: build it with level="node"',
        ),
    ],
)
def test_networks_without_such_outputs(net: nn.Module, properties: Any, message: str) -> None:
    pos, z = torch.tensor([[0.0, 0, 0], [0, 0, 1]]), torch.tensor([1, 8])
    with pytest.raises(ValueError, match=message):
        AtomProperties(net, properties)(pos, z, torch.tensor([[0, 1], [1, 0]]))


def test_intensive_is_of_structures() -> None:
    with pytest.raises(ValueError, match=r"'q' is intensive, but no property of structures: .* mu"):
        PropertyTask(Numbers(), {"q": "scalar", "mu": "graph:vector"}, intensive=["q"])
    with pytest.raises(ValueError, match='loss must be "mse" or "mae"'):
        PropertyTask(Numbers(), {"q": "scalar"}, loss="huber")  # type: ignore[arg-type]


def config(folder: Path, properties: dict[str, str]) -> str:
    write(folder / "own.xyz", frames(20), format="extxyz")
    net = {"class_path": "GauntNet", "init_args": GAUNT | {"irreps_out": "0e+1o+2e"}}
    settings = {
        "monitor": "val/loss",
        "model": {
            "class_path": "PropertyTask",
            "init_args": {"model": net, "properties": properties, "intensive": ["gap"]},
        },
        "data": {
            "class_path": "PropertyData",
            "init_args": {"source": str(folder / "own.xyz"), "properties": properties},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))
    return f"--config={folder / 'own.yaml'}"


@pytest.mark.slow
def test_from_a_file_to_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    properties = {name: TYPES[name] for name in ("gap", "mu")} | {"alpha": "graph:2e"}
    refused = config(tmp_path, {"gap": "graph:scalar"} | {"alpha": "graph:2e"})
    run = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert main(["fit", refused, run]) == 2
    assert "correct the type of 'alpha'" in capsys.readouterr().err
    chosen = config(tmp_path, {name: properties[name] for name in ("gap", "mu")})
    assert main(["fit", chosen, run]) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert main(["test", chosen, run, f"--ckpt_path={checkpoint}"]) == 0
    assert main(["predict", chosen, run, f"--ckpt_path={checkpoint}"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"test/mae_gap", "test/rmse_mu", "test/loss"} <= results["metrics"].keys()
    assert main(["check", str(checkpoint)]) == 0
    assert main(["fit", chosen, run, "--overwrite", "--data.properties={gap: graph:scalar}"]) == 2
    assert "The properties of the task are" in capsys.readouterr().err


def test_properties_keep_the_order_of_the_checkpoint() -> None:
    """In which they take the channels of the network."""
    first, second = (
        PropertyTask(Numbers(), dict.fromkeys(names, "graph:scalar"))
        for names in (("a", "b"), ("b", "a"))
    )
    stored = {"hyper_parameters": dict(first.hparams)}
    first.on_load_checkpoint(dict(stored))
    with pytest.raises(ValueError, match="are b, a, but those of the checkpoint a, b"):
        second.on_load_checkpoint(dict(stored))


def charged(folder: Path, charges: tuple[int, ...]) -> Path:
    """Structures whose one number is their charge."""
    written = frames()[: len(charges)]
    for atoms, charge in zip(written, charges, strict=True):
        atoms.info |= {"total": charge, "shift": float(charge)}
    write(folder / "charged.xyz", written, format="extxyz")
    return folder / "charged.xyz"


@pytest.mark.filterwarnings("ignore")
def test_charges_are_inputs(tmp_path: Path) -> None:
    path = charged(tmp_path, (0, 1, -1, 0, 1, -1))
    properties, options = {"shift": "graph:scalar"}, {"charge_key": "total", "cutoff": 3.0}
    data = PropertyData(path, properties, 0.34, 0, batch_size=2, **options)
    net = PONITA(4, 0, 1, 0, channels=4, layers=1, orientations=4, cutoff=3.0)
    folder = tmp_path / "run"
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 2}
    run = Run(
        PropertyTask(net, properties, intensive=["shift"], lr=0.01),
        data,
        {"default_root_dir": folder, **quiet},
        monitor="val/loss",
    )
    fit(run)
    model: Any = run.task.model
    assert model.charges is not None and bool(model.charges.charges.weight.abs().sum() > 0)
    batch: Any = data.splits["val"].__getitems__([0])
    batch.charge = torch.tensor([2.0])
    with pytest.raises(ValueError, match=r"has the charge 2, which the training data never showed"):
        run.task.check_batch(batch)
    plain = AtomProperties(net, properties)
    with pytest.raises(ValueError, match="which this model does not know: build it with charge=Tr"):
        plain(batch.pos, batch.z, batch.edge_index, charge=batch.charge)
    with pytest.raises(ValueError, match="A property cannot be called 'charge'"):
        PropertyData(path, {"charge": "graph:scalar"}, charge_key="total")
