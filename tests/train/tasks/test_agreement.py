"""A network and its data agree on the cutoff, the elements, the charges and what has a volume."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from safetensors.torch import load_file
from torch import Tensor, nn

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.data import DigitsData, MoleculeData, QM9Data
from geqlib.files.checkpoint import read_checkpoint
from geqlib.models import PONITA, GauntNet, MoleculeModel, Potential
from geqlib.train import ClassificationTask, EnergyForces, RegressionTask
from geqlib.train.runs.recipe import read_recipe
from geqlib.train.tasks.agreement import share_cutoff
from geqlib.train.tasks.label_checks import check_frames, check_volumes
from tests.train.potential import write_config, write_frames
from tests.train.tiny import geqlib as command


def ponita(cutoff: float | None = 3.0, **options: Any) -> PONITA:
    torch.manual_seed(0)
    return PONITA(4, 0, 1, 0, **({"channels": 4, "layers": 1, "cutoff": cutoff} | options))


def gaunt(cutoff: float = 5.0) -> GauntNet:
    return GauntNet(["H", "O"], channels=1, degree=1, order=1, layers=1, cutoff=cutoff)


class Own(nn.Module):
    """A network of a user, with or without a cutoff that it tells."""

    def __init__(self, cutoff: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.cutoff = cutoff

    def forward(self, pos: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        distance = (pos[source] - pos[target]).norm(dim=1)
        return self.weight * distance.new_zeros(len(pos)).index_add(0, target, distance)


@pytest.fixture(autouse=True)
def without_advice():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*number of training batches")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory")
        yield


def molecules(folder: Path, count: int = 8, symbols: str = "OH", name: str = "a.xyz") -> str:
    frames = [
        Atoms(symbols, [[0, 0, 0], [0, 0, 0.9 + 0.02 * k]], info={"E": -1.0 - k, "q": k % 2})
        for k in range(count)
    ]
    write(folder / name, frames, format="extxyz")
    return str(folder / name)


def data(folder: Path, **options: Any) -> MoleculeData:
    keys = {"energy_key": "E", "forces_key": None, "val": 2, "batch_size": 6}
    return MoleculeData(molecules(folder), **(keys | options))


def task(network: nn.Module, **options: Any) -> EnergyForces:
    return EnergyForces(network, **({"forces_weight": 0.0, "lr": 1e-2} | options))


def fit(task: L.LightningModule, data: Any, epochs: int = 1) -> L.Trainer:
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    options = {name: False for name in off}
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", **options)
    trainer.fit(task, data)
    return trainer


# --- the cutoff ----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [ponita(), gaunt(3.0), Own(3.0)])
def test_one_setting_serves_both(tmp_path, network):
    loaders = data(tmp_path)
    fit(task(network), loaders)
    assert loaders.cutoff == loaders.hparams["cutoff"] == 3.0


def test_without_any_cutoff_all_pairs_are_neighbours(tmp_path):
    loaders = data(tmp_path)
    fit(task(ponita(None)), loaders)
    assert loaders.cutoff is None and loaders.splits["train"][0].edge_index.size(1) == 2


@pytest.mark.parametrize(
    ("network", "cutoff", "sentence"),
    [
        (ponita(6.0), 3.5, "cutoff of PONITA is 6.0, but that of MoleculeData is 3.5"),
        (ponita(3.0), 3.5, "cutoff of PONITA is 3.0, but that of MoleculeData is 3.5"),
        (gaunt(), 3.5, "cutoff of GauntNet is 5.0, but that of MoleculeData"),
        (Potential(ponita(6.0)), 3.5, "cutoff of PONITA is 6.0"),
        (ponita(None), 3.5, r"PONITA has no cutoff, so the energy jumps at 3.5"),
        (Own(4.0), 3.5, "cutoff of Own is 4.0"),
    ],
)
def test_energies_that_would_jump_are_refused(tmp_path, network, cutoff, sentence):
    """Before anything is read."""
    loaders = data(tmp_path, cutoff=cutoff)
    with pytest.raises(ValueError, match=sentence):
        fit(task(network), loaders)
    assert not loaders.splits


def test_a_network_of_ones_own_may_fade_out_by_itself(tmp_path):
    """What it does is not known, so that it is warned of."""
    with pytest.warns(UserWarning, match="Own has no attribute `cutoff`"):
        share_cutoff(Potential(Own()), data(tmp_path, cutoff=3.5))


def test_properties_of_molecules():
    """A difference is an error there, too; a network without a cutoff takes the edges it gets."""
    share_cutoff(MoleculeModel(ponita(None)), QM9Data(cutoff=5.0))
    share_cutoff(MoleculeModel(ponita(5.0)), QM9Data(cutoff=5.0))
    everything = QM9Data(cutoff=None)
    share_cutoff(MoleculeModel(ponita(4.0)), everything)
    assert everything.cutoff == 4.0
    model = RegressionTask(MoleculeModel(ponita(4.0)))
    with pytest.raises(ValueError, match=r"cutoff of PONITA is 4.0, but that of QM9Data is 5.0"):
        fit(model, QM9Data(cutoff=5.0))


def test_points_may_have_more_neighbours_than_the_network_uses():
    net = PONITA(1, 0, 10, 0, channels=4, layers=1, space="R2", cutoff=0.5, level="graph")
    share_cutoff(net, DigitsData())
    with pytest.raises(ValueError, match=r"cutoff of PONITA is 0.5, but that of DigitsData is 0.3"):
        fit(ClassificationTask(net, classes=10), DigitsData(cutoff=0.3))


def test_calculators_take_no_other_cutoff_than_their_network():
    for cutoff in (2.0, 4.0):
        with pytest.raises(ValueError, match=f"cutoff={cutoff} is not that of the network, 3.0"):
            GeqCalculator(Potential(ponita()), cutoff=cutoff)
    assert GeqCalculator(Potential(ponita()), cutoff=3.0).cutoff == 3.0
    assert GeqCalculator(Potential(ponita(None)), cutoff=4.0).cutoff == 4.0


def test_energies_of_atoms_are_not_trained_on(tmp_path):
    frames = read(molecules(tmp_path), ":")
    for frame in frames:
        frame.set_array("e", np.zeros(2))
    write(tmp_path / "e.xyz", frames, format="extxyz")
    keys = {"energy_key": "E", "forces_key": None, "energies_key": "e", "val": 2}
    with pytest.warns(UserWarning, match="energies_key is read and not trained on"):
        fit(task(ponita()), MoleculeData(str(tmp_path / "e.xyz"), **keys))


# --- elements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("stream", [False, True])
def test_an_element_of_one_validation_frame(tmp_path, number, stream):
    """Its split and frame are named, before the first epoch where frames are in memory."""
    path = molecules(tmp_path)
    frames = read(path, ":")
    frames[number].numbers[1] = 79
    for frame in frames:
        frame.calc = None
    write(path, frames, format="extxyz")
    keys = {"energy_key": "E", "forces_key": None}
    options = {"stream": stream, "cache": str(tmp_path)}
    loaders = MoleculeData(path, val=[number], cutoff=3.0, **keys, **options)
    sentence = rf"Frame {number} of the val split: atom 1 is Au, .* never showed \(H, O\)"
    with pytest.raises(ValueError, match=sentence):
        fit(task(ponita()), loaders)


def test_a_number_of_no_element_is_named_by_its_frame():
    """Of structures that no reader of the library has checked."""
    z, batch = torch.tensor([1, 8, 1, 127]), torch.tensor([0, 0, 1, 1])
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 8]] = True
    sentence = r"Frame 1 of the val split: atom 1 is atomic number 127, which .* \(H, O\)"
    for flags in (seen, seen[None]):
        level = torch.zeros(2, dtype=torch.long)
        frames = SimpleNamespace(z=z, batch=batch, level=level)
        with pytest.raises(ValueError, match=sentence):
            check_frames("val", frames, flags)


# --- charges -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_charge_states_of_one_geometry_are_learnt(tmp_path):
    frames = [
        Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"E": -5.0 * (k % 2), "q": k % 2})
        for k in range(12)
    ]
    write(tmp_path / "b.xyz", frames, format="extxyz")
    keys = {"energy_key": "E", "forces_key": None, "charge_key": "q"}
    loaders = MoleculeData(str(tmp_path / "b.xyz"), val=4, batch_size=8, **keys)
    net = task(ponita(channels=8))
    trainer = fit(net, loaders, epochs=60)
    assert trainer.callback_metrics["val/energy_mae"] < 500  # the two states differ by 5000 meV
    with pytest.raises(
        ValueError, match=r"charge 2, which the training data never showed \(0, 1\)"
    ):
        GeqCalculator(net.model, charge=2).get_potential_energy(frames[0])


def test_a_network_that_cannot_know_the_charge(tmp_path):
    with pytest.raises(ValueError, match="Own cannot know the charge"):
        fit(task(Own(3.0)), data(tmp_path, charge_key="q"))


CONFIG = """
monitor: val/energy_mae
model:
  class_path: geqlib.train.EnergyForces
  init_args:
    forces_weight: 0.0
    model:
      class_path: geqlib.models.PONITA
      init_args: {in_scalars: 4, in_vectors: 0, out_scalars: 1, out_vectors: 0, channels: 4,
                  layers: 1, cutoff: 3.0}
data:
  class_path: geqlib.data.MoleculeData
  init_args: {val: 2, energy_key: E, forces_key: null, charge_key: q}
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false}
"""


def test_the_command_line(tmp_path):
    """One cutoff, charges in checkpoints, and predictions of structures without labels."""
    config = yaml.safe_load(CONFIG)
    config["data"]["init_args"]["train"] = molecules(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    run = tmp_path / "run"
    options = [f"--config={tmp_path}/c.yaml", f"--trainer.default_root_dir={run}"]
    assert command(["fit", *options]) == 0
    best = run / "checkpoints" / "best.ckpt"
    stored = read_checkpoint(best)
    assert stored["datamodule_hyper_parameters"]["cutoff"] == 3.0
    potential = geqlib.load(best)
    assert potential.charges.seen_charges.sum() == 2
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": 1})
    assert np.isfinite(GeqCalculator(best).get_potential_energy(atoms))
    new = [Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"q": k}) for k in (1, 0)]
    write(tmp_path / "new.xyz", new, format="extxyz")
    tested = [*options, f"--data.init_args.test={tmp_path}/new.xyz", f"--ckpt_path={best}"]
    assert command(["predict", *tested]) == 0
    predicted = load_file(run / "predictions.safetensors")
    assert predicted["energy"].isfinite().all() and "energy_true" not in predicted
    assert len(read(run / "predictions.xyz", ":")) == 2
    assert command(["test", *tested]) == 2  # there is nothing to compare with


# --- stress --------------------------------------------------------------------------------------


def test_labels_of_stress_without_a_volume_are_refused(tmp_path):
    """Also those of other data modules, which no reader has checked."""
    loaders = data(tmp_path, cutoff=3.0)
    loaders.setup()
    batch = loaders.splits["train"].__getitems__([0, 1])
    batch.stress = torch.zeros(2, 3, 3)
    with pytest.raises(ValueError, match="Structure 0 of a batch has a stress, but no cell"):
        check_volumes(batch)
    batch.stress[0] = torch.nan
    with pytest.raises(ValueError, match="Structure 1"):
        check_volumes(batch)
    batch.stress[1] = torch.nan
    check_volumes(batch)
    del batch.cell
    check_volumes(batch)


def test_predicted_stress_is_none_without_a_volume(tmp_path):
    crystal = bulk("Cu", cubic=True)
    crystal.info |= {"E": -1.0, "S": np.eye(3)}
    boxed = Atoms("Cu2", [[0, 0, 0], [0, 0, 2]], cell=[20, 20, 20], pbc=False, info={"E": -2.0})
    write(tmp_path / "a.xyz", [crystal, boxed] * 4, format="extxyz")
    keys = {"energy_key": "E", "forces_key": None, "stress_key": "S", "missing": "mask"}
    loaders = MoleculeData(str(tmp_path / "a.xyz"), val=2, test=[0, 1], **keys)
    net = task(ponita(), stress_weight=1.0)
    trainer = fit(net, loaders)
    (predicted,) = trainer.predict(net, loaders)
    assert predicted["stress"][0].isfinite().all() and predicted["stress"][1].isnan().all()


def test_recipes_of_periodic_structures_have_the_cutoff_of_the_network(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", 20)
    path = write_config(tmp_path / "run.yaml", tmp_path / "train.xyz", cutoff=None)
    assert read_recipe(path)["data"] == read_recipe(path)["data"] is not None
