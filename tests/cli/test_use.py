"""A trained model on any file: `geqlib predict MODEL FILE`, `geqlib test MODEL FILE`, Python."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from safetensors.torch import load_file

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.data import NBodyData
from tests.cli.test_main import refused
from tests.train import tiny

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
GAUNT = {"elements": ["Cu", "Au"], "channels": 2, "degree": 1, "order": 2, "layers": 1}
POTENTIAL = {
    "monitor": "val/forces_rmse",
    "model": {
        "class_path": "geqlib.train.EnergyForces",
        "init_args": {
            "stress_weight": 1.0,
            "model": {"class_path": "GauntNet", "init_args": {**GAUNT, "cutoff": 3.0}},
        },
    },
    "data": {
        "class_path": "MoleculeData",
        "init_args": {"train": "metal.xyz", "val": 2, "test": 2, "stress_key": "stress"},
    },
    "trainer": {"max_epochs": 1, **QUIET},
}
NET = {"out_scalars": 2, "channels": 4, "group": "SE(3)"}
CLASSIFIER = {
    "monitor": "val/loss",
    "model": {
        "class_path": "geqlib.train.ClassificationTask",
        "init_args": {"classes": 2, "model": {"class_path": "FAPointNet", "init_args": NET}},
    },
    "data": {
        "class_path": "PointCloudData",
        "init_args": {"source": "shapes", "points": 16, "train": 4, "val": 2, "test": 2},
    },
    "trainer": {"max_epochs": 1, **QUIET},
}
TETRAHEDRON = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 {}\n3 0 2 1\n3 0 1 3\n3 1 2 3\n3 2 0 3\n"


def metals(count: int) -> list:
    """Crystals of copper and gold, labelled."""
    frames = [bulk(("Cu", "Au")[k % 2]) for k in range(count)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
    return frames


def train(settings: dict, folder: str) -> None:
    Path(f"{folder}.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["fit", "--config", f"{folder}.yaml", "--trainer.default_root_dir", folder]
    assert tiny.geqlib(arguments) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data and the runs `potential`, `classifier` and `bodies`."""
    folder = tmp_path_factory.mktemp("use")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("metal.xyz", metals(10))
        for name, height in (("low", 0.3), ("high", 3.0)):
            for split in ("train", "test"):
                Path("shapes", name, split).mkdir(parents=True)
                mesh = Path("shapes", name, split, f"{name}.off")
                mesh.write_text(TETRAHEDRON.format(height))
        train(POTENTIAL, "potential")
        train(CLASSIFIER, "classifier")
        train(tiny.config(1), "bodies")
    return folder


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_unlabelled_structures(here, capsys):
    frames = [bulk("Cu"), bulk("Au", cubic=True)]
    write("bare.xyz", frames)
    assert tiny.geqlib(["predict", "potential", "bare.xyz"]) == 0
    assert "wrote bare_predictions.xyz: 2 structures" in capsys.readouterr().out
    predicted = read("bare_predictions.xyz", ":")
    for atoms, result in zip(frames, predicted, strict=True):
        atoms.calc = GeqCalculator("potential/checkpoints/best.ckpt")
        assert result.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
        assert np.allclose(result.get_forces(), atoms.get_forces(), atol=1e-5)
        assert np.allclose(result.get_stress(), atoms.get_stress(), atol=1e-5)


def test_what_a_file_says_of_its_structures_goes_with_the_predictions(here):
    """And never in place of a prediction, a label or the number of the frame."""
    kinds = ["bulk", "a surface"]
    frames = [bulk("Cu"), bulk("Au", cubic=True)]
    for k, (atoms, kind) in enumerate(zip(frames, kinds, strict=True)):
        atoms.info = {"config_type": kind, "name": f"own {k}", "run": k + 3, "kT": 0.5 + k}
        atoms.info |= {"index": 77, "dipole": np.ones(3), "done": True}
        atoms.info["strain"] = np.arange(9.0).reshape(3, 3)
    write("said.xyz", frames)
    text = Path("said.xyz").read_text().replace("config_type", "energy=-9000 config_type")
    Path("said.xyz").write_text(text)
    assert tiny.geqlib(["predict", "potential", "said.xyz", "--out", "said_too.xyz"]) == 0
    for k, (result, kind) in enumerate(zip(read("said_too.xyz", ":"), kinds, strict=True)):
        info = {"config_type": kind, "name": f"own {k}", "run": k + 3, "kT": 0.5 + k, "index": k}
        assert info.items() <= result.info.items() and result.info["done"]
        assert np.array_equal(result.info["strain"], np.arange(9.0).reshape(3, 3))
        frames[k].calc = GeqCalculator("potential/checkpoints/best.ckpt")
        assert result.get_potential_energy() == pytest.approx(frames[k].get_potential_energy())
        assert "dipole" not in result.calc.results


def test_structures_in_a_format_of_ase_and_as_a_table(here):
    write("one.cif", bulk("Au"))
    model = "potential/checkpoints/last.ckpt"
    assert tiny.geqlib(["predict", model, "one.cif", "--out", "one.csv"]) == 0
    (row,) = table("one.csv")
    atoms = read("one.cif")
    atoms.calc = GeqCalculator(model)
    assert float(row["energy"]) == pytest.approx(atoms.get_potential_energy(), rel=1e-5)


def test_an_exported_potential(here):
    assert tiny.geqlib(["export", "potential/checkpoints/best.ckpt", "--out", "one.geqlib"]) == 0
    for model in ("one.geqlib", "potential"):
        arguments = ["predict", model, "metal.xyz", "--out", f"{Path(model).stem}.xyz"]
        assert tiny.geqlib(arguments) == 0
    one, two = (read(f"{name}.xyz", ":") for name in ("one", "potential"))
    assert [a.get_potential_energy() for a in one] == [a.get_potential_energy() for a in two]


def test_metrics_are_those_of_the_predictions(here, capsys):
    assert tiny.geqlib(["test", "potential", "metal.xyz", "--out", "metrics.json"]) == 0
    metrics = json.loads(Path("metrics.json").read_text())
    assert f"forces_rmse           {metrics['forces_rmse']:.4g}" in capsys.readouterr().out
    assert tiny.geqlib(["predict", "potential", "metal.xyz"]) == 0
    predicted = read("metal_predictions.xyz", ":")
    errors = np.concatenate([a.get_forces() - a.arrays["REF_forces"] for a in predicted])
    # the file has eight decimals: 5e-9 eV/angstrom
    expected = 1000 * np.sqrt((errors**2).mean())
    assert metrics["forces_rmse"] == pytest.approx(expected, rel=1e-4, abs=5e-6)


def test_without_a_file_the_test_split_of_the_run(here, capsys):
    for command, file in (("test", "results.json"), ("predict", "predictions.xyz")):
        Path("potential", file).unlink(missing_ok=True)
        assert tiny.geqlib([command, "potential"]) == 0
        printed = capsys.readouterr().out
        assert "wrote potential/" in printed
        if command == "test":
            shown = printed
    assert len(read("potential/predictions.xyz", ":")) == 2
    results = json.loads(Path("potential/results.json").read_text())["metrics"]
    assert f"forces_rmse           {results['test/forces_rmse']:.4g} meV/Å\n" in shown
    assert "DataLoader" not in shown  # a table of Lightning's, with all digits and no units
    metrics = geqlib.load_predictor("potential").test()
    assert metrics == pytest.approx({k.removeprefix("test/"): v for k, v in results.items()})


def test_a_run_without_a_test_split(here, capsys):
    settings = copy.deepcopy(POTENTIAL)
    settings["data"]["init_args"]["test"] = 0
    train(settings, "untested")
    capsys.readouterr()
    assert tiny.geqlib(["test", "untested"]) == 2
    assert "The test split of untested/config.yaml is empty" in capsys.readouterr().err


def test_structures_in_memory_are_refused_with_what_to_do(here):
    with pytest.raises(ValueError, match=r"named by its path, got list: write structures into"):
        geqlib.load_predictor("potential").predict(metals(2))


def test_settings_of_the_data(here):
    frames = [atoms.copy() for atoms in metals(2)]
    for k, atoms in enumerate(frames):
        atoms.info["E"] = float(k)
    write("other.xyz", frames)
    options = ["--data.energy_key=E", "--data.forces_key", "null", "--data.stress_key", "null"]
    assert tiny.geqlib(["test", "potential", "other.xyz", *options]) == 0
    metrics = geqlib.load_predictor("potential").test(
        "other.xyz", energy_key="E", forces_key=None, stress_key=None
    )
    assert metrics["energy_mae"] > 0


def test_classes_of_clouds(here, capsys):
    arguments = ["predict", "classifier", "shapes/high", "--out", "clouds.csv"]
    assert tiny.geqlib(arguments) == 0
    rows = table("clouds.csv")
    assert [row["graph"] for row in rows] == ["test/high.off", "train/high.off"]
    for row in rows:
        assert row["true"] == "high"
        assert float(row["p(low)"]) + float(row["p(high)"]) == pytest.approx(1, abs=1e-5)
        assert row["class"] == max(("low", "high"), key=lambda name: float(row[f"p({name})"]))
    assert tiny.geqlib(["test", "classifier", "shapes"]) == 0
    right = [row["class"] == row["true"] for row in rows]
    assert "accuracy" in capsys.readouterr().out and len(right) == 2


def test_an_unlabelled_cloud_without_the_training_data(here, tmp_path):
    (tmp_path / "new.off").write_text(TETRAHEDRON.format(2.0))
    predicted = geqlib.load_predictor("classifier").predict(tmp_path / "new.off")
    assert predicted.keys() == {"logits"} and predicted["logits"].shape == (1, 2)
    Path("shapes").rename("moved")
    try:
        path = str(tmp_path / "new.off")
        assert tiny.geqlib(["predict", "classifier", path, "--out", "new.csv"]) == 0
    finally:
        Path("moved").rename("shapes")
    (row,) = table("new.csv")
    assert row["graph"] == "new.off" and row["class"] in ("low", "high")


def test_positions_of_bodies_not_displacements(here):
    assert tiny.geqlib(["predict", "bodies", "--out", "bodies.safetensors"]) == 0
    saved = load_file("bodies.safetensors")
    predictor = geqlib.load_predictor("bodies")
    data = predictor.data()
    assert isinstance(data, NBodyData)
    data.setup()
    (batch,) = data.test_dataloader()
    later = predictor(batch)["y"]
    assert torch.allclose(later, saved["predicted"], atol=1e-6)
    displacement = geqlib.load("bodies/checkpoints/best.ckpt")(
        batch.pos, batch.edge_index, x=batch.x, vec=batch.vec, batch=batch.batch
    )[1][:, 0]
    assert torch.allclose(later, batch.pos + displacement, atol=1e-5)
    assert tiny.geqlib(["predict", "bodies", "--out", "bodies.csv"]) == 0
    rows = table("bodies.csv")
    assert len(rows) == 35 and float(rows[0]["predicted_0"]) == pytest.approx(float(later[0, 0]))


def test_a_task_has_its_numbers_again(here):
    predictor = geqlib.load_predictor("potential")
    assert not predictor.task.training
    (atoms,) = read("metal.xyz", "0:1")
    energy = predictor.predict("metal.xyz")["energy"][0]
    atoms.calc = GeqCalculator("potential")
    assert float(energy) == pytest.approx(atoms.get_potential_energy())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "none", "metal.xyz"], "There is no checkpoint none"),
        (["predict", ".", "metal.xyz"], "There is no checkpoint in ., which is a folder"),
        (["predict", "potential.yaml", "metal.xyz"], "is a configuration, not a trained model"),
        (["predict", "potential", "none.xyz"], "There is no file none.xyz"),
        (["predict", "potential", "metal.xyz", "--nope"], "--nope is no option here"),
        (["predict", "potential", "metal.xyz", "--data.nope", "3"], "has no setting 'nope'"),
        (["predict", "potential", "metal.xyz", "--data.cutoff"], "--data.cutoff has no value"),
        (["predict", "potential", "metal.xyz", "--out", "metal.xyz"], "is the file itself"),
        (["predict", "potential", "metal.xyz", "--out", "a.txt"], "should end in .csv"),
        (["predict", "bodies", "metal.xyz"], "reads no other files"),
        (["predict", "classifier", "shapes", "--out", "a.xyz"], "no energies of structures"),
        (["predict", "classifier", "bodies"], "There are no OFF files in bodies"),
        (["check", "."], "There is no checkpoint in ., which is a folder"),
    ],
    ids=str,
)
def test_what_cannot_be_done(arguments, said, here, capsys):
    assert said in refused(arguments, capsys)


@pytest.mark.parametrize(
    "words",
    [
        "predict metal.xyz metal.xyz",
        "predict metal.xyz",
        "test metal.xyz metal.xyz",
        "test --config potential.yaml --ckpt_path metal.xyz",
        "fit --config potential.yaml --ckpt_path metal.xyz",
        "fit --config potential.yaml --init metal.xyz",
        "md metal.xyz metal.xyz --out a.traj --steps 10",
        "relax metal.xyz metal.xyz --out relaxed.xyz",
        "calibrate metal.xyz",
        "select metal.xyz metal.xyz --count 1 --out chosen.xyz",
        "check metal.xyz",
        "check metal.xyz --structures metal.xyz",
        "export metal.xyz --out a.geqlib",
        "sample metal.xyz --count 1 --out a.xyz",
    ],
)
def test_structures_in_the_place_of_a_checkpoint(words, here, capsys):
    line = refused(words.split(), capsys)
    assert "metal.xyz is not a checkpoint of geqlib, but has the ending of structures: " in line
    assert "name one, such as checkpoints/best.ckpt in the folder of a run" in line


def test_labels_that_a_test_needs(here, capsys):
    write("bare.xyz", [bulk("Cu")])
    assert "there is no key 'energy'" in refused(["test", "potential", "bare.xyz"], capsys)


def test_a_run_folder_is_a_model(here):
    one, two = (geqlib.load(path) for path in ("bodies", "bodies/checkpoints/best.ckpt"))
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_folder_is_no_checkpoint_of_a_run(here, capsys):
    line = refused(["test", "--config", "bodies/config.yaml", "--ckpt_path", "bodies"], capsys)
    assert "name a checkpoint, such as bodies/checkpoints/best.ckpt" in line
