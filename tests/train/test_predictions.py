"""`geqlib predict` writes structures that other programs read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read
from safetensors.numpy import load_file

from geqlib.calculators import GeqCalculator
from geqlib.models import PONITA
from geqlib.train import (
    ClassificationTask,
    NodeClassificationTask,
    PropertyTask,
    RegressionTask,
)
from geqlib.train.runs.predicted_files import table
from geqlib.train.runs.record import predicted_names, write_structures
from tests.train.potential import write_config, write_frames
from tests.train.tiny import geqlib


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    write_frames(folder / "frames.xyz")
    path = write_config(folder / "config.yaml", folder / "frames.xyz", eval_batch_size=4)
    inputs = ["--config", str(path), "--trainer.default_root_dir", str(folder / "run")]
    assert geqlib(["fit", *inputs]) == 0
    best = folder / "run" / "checkpoints" / "best.ckpt"
    assert geqlib(["predict", *inputs, "--ckpt_path", str(best)]) == 0
    return folder / "run"


@pytest.mark.slow
def test_predicted_and_true_values_stand_side_by_side(run):
    arrays = load_file(run / "predictions.safetensors")
    frames = read(run / "predictions.xyz", ":")
    source = read(run.parent / "frames.xyz", ":")
    assert [atoms.info["index"] for atoms in frames] == arrays["index"].tolist()
    for k, atoms in enumerate(frames):
        mine = arrays["batch"] == k
        original = source[atoms.info["index"]]
        # a file of extended XYZ has 8 digits behind the point
        np.testing.assert_allclose(atoms.get_potential_energy(), arrays["energy"][k], rtol=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), arrays["forces"][mine], atol=1e-7)
        np.testing.assert_allclose(atoms.info["REF_energy"], original.info["E"], rtol=1e-12)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], original.arrays["F"], atol=1e-6)
        np.testing.assert_allclose(atoms.positions, original.positions, atol=1e-6)
        assert (atoms.pbc == original.pbc).all() and (atoms.numbers == original.numbers).all()


def test_they_are_those_of_the_calculator(run):
    for path in sorted((run / "checkpoints").glob("best.ckpt")):
        calculator = GeqCalculator(path)
        for atoms in read(run / "predictions.xyz", ":"):
            fresh = atoms.copy()
            fresh.calc = calculator
            # float32 in batches and alone
            np.testing.assert_allclose(fresh.get_forces(), atoms.get_forces(), atol=1e-4)
            assert fresh.get_potential_energy() == pytest.approx(
                atoms.get_potential_energy(), abs=1e-4
            )


def test_data_without_structures_writes_none(tmp_path):
    predictions = {"energy": torch.zeros(1), "index": torch.zeros(1), "batch": torch.zeros(1)}
    assert not write_structures(tmp_path / "none.xyz", object(), predictions)
    assert not list(tmp_path.iterdir())


def test_stress_goes_to_structures_that_have_a_volume(tmp_path):
    class Data:
        @staticmethod
        def atoms(index):
            if not index:
                return Atoms("Cu")
            return Atoms("Cu", cell=[3.0, 3.0, 3.0], pbc=True, info={"REF_stress": np.eye(3) / 8})

    stress = torch.arange(18.0).view(2, 3, 3)
    predictions = {
        "energy": torch.zeros(2),
        "index": torch.arange(2),
        "batch": torch.arange(2),
        "forces": torch.zeros(2, 3),
        "stress": stress + stress.mT,
    }
    assert write_structures(tmp_path / "both.xyz", Data(), predictions)
    alone, crystal = read(tmp_path / "both.xyz", ":")
    assert "stress" not in alone.calc.results
    np.testing.assert_allclose(crystal.get_stress(voigt=False), (stress + stress.mT)[1].numpy())
    np.testing.assert_array_equal(crystal.info["REF_stress"].reshape(3, 3), np.eye(3) / 8)
    assert "_JSON" not in (tmp_path / "both.xyz").read_text()  # which no other program reads


def test_names_go_with_the_predictions(tmp_path):
    class Data:
        targets = ("a", "b")  # not a list: no names of columns
        classes: list[str] = ["x", "y"]  # noqa: RUF012

        @staticmethod
        def identifiers():
            return ["CC", "CCC", "CO"]

    names = predicted_names(Data(), {"index": torch.tensor([2, 0])})
    assert names == {"names": '["CO", "CC"]', "classes": '["x", "y"]'}
    assert predicted_names(object(), {"index": torch.tensor([2, 0])}) == {}
    assert "names" not in predicted_names(Data(), {})


def test_configuration_types_are_written(tmp_path):
    class Data:
        @staticmethod
        def atoms(index):
            return Atoms("Cu", info={"index": index})

        @staticmethod
        def infos():
            return [{}, {"config_type": "bulk", "index": 7}]

    predictions = {"energy": torch.zeros(2), "index": torch.arange(2), "batch": torch.arange(2)}
    assert write_structures(tmp_path / "some.xyz", Data(), predictions)
    atom, bulk = read(tmp_path / "some.xyz", ":")
    assert "config_type" not in atom.info and bulk.info["config_type"] == "bulk"
    assert bulk.info["index"] == 1


def test_columns_of_a_table_have_the_names_of_their_targets() -> None:
    predictions = {"predicted": torch.tensor([[1.0, 2.0]]), "true": torch.tensor([[1.5, 2.5]])}
    for targets, expected in (
        (["boiling", "logS"], ["predicted_boiling", "predicted_logS", "true_boiling", "true_logS"]),
        (["boiling"], ["predicted_0", "predicted_1", "true_0", "true_1"]),
    ):
        task = RegressionTask(torch.nn.Linear(1, 1))
        header, rows = table(task, SimpleNamespace(targets=targets), predictions)
        assert header == ["graph", *expected]
        assert list(rows) == [[0, "1", "2", "1.5", "2.5"]]


def test_a_class_that_is_not_known_is_empty_in_a_table() -> None:
    predictions = {"logits": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "true": torch.tensor([0, -1])}
    for kind, first in ((ClassificationTask, "graph"), (NodeClassificationTask, "node")):
        task = kind(torch.nn.Linear(1, 2), 2)
        header, rows = table(task, SimpleNamespace(classes=["low", "high"]), predictions)
        assert header == [first, "class", "p(low)", "p(high)", "true"]
        assert [(row[1], row[-1]) for row in rows] == [("low", "low"), ("high", "")]


def test_properties_of_structures_are_columns_of_a_table() -> None:
    properties = {"gap": "graph:scalar", "dipole": "graph:vector", "charges": "scalar"}
    net = PONITA(in_scalars=2, in_vectors=0, out_scalars=2, out_vectors=1, channels=4, layers=1)
    task = PropertyTask(net, properties)
    predictions = {
        "gap": torch.tensor([0.5, 1.5]),
        "gap_true": torch.tensor([0.25, float("nan")]),
        "dipole": torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
        "charges": torch.zeros(5),
        "batch": torch.tensor([0, 0, 1, 1, 1]),
        "index": torch.tensor([7, 9]),
    }
    header, rows = table(task, SimpleNamespace(), predictions)
    assert header == ["graph", "index", "gap", "gap_true", "dipole_0", "dipole_1", "dipole_2"]
    assert next(iter(rows)) == [0, 7, "0.5", "0.25", "1", "2", "3"]
    atoms = PropertyTask(net, {"charges": "scalar"})
    with pytest.raises(ValueError, match="there is no table"):
        table(atoms, SimpleNamespace(), {k: predictions[k] for k in ("charges", "batch", "index")})
