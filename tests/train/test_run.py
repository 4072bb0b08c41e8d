"""Training as functions: of a configuration or of built objects, with one folder and one result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import geqlib
from geqlib.data import NBodyData
from geqlib.files.checkpoint import FORMAT, read_checkpoint
from geqlib.models import PONITA
from geqlib.train import DisplacementTask
from geqlib.train.run import Run, fit, predict, read_run, validate
from geqlib.train.run import test as run_test
from geqlib.train.runs.configuration import as_arguments
from tests.train import tiny


def objects(folder: Path) -> Run:
    """What `tiny.config(1)` describes, built by hand."""
    settings = tiny.config(1)
    L.seed_everything(0, verbose=False)
    arguments = settings["model"]["init_args"]
    model = PONITA(**arguments["model"]["init_args"])
    recipe = {key: value for key, value in arguments.items() if key != "model"}
    options = settings["trainer"] | {"default_root_dir": folder}
    data = NBodyData(**settings["data"]["init_args"])
    return Run(DisplacementTask(model, **recipe), data, options, ema=settings["ema"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """From a dictionary, with changes as a dictionary."""
    folder = tmp_path_factory.mktemp("run") / "run"
    changes = {"trainer.default_root_dir": str(folder), "trainer.max_epochs": 1}
    return fit(tiny.config(), changes)


def test_the_folder_of_a_run(run: Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"config.yaml", "checkpoints", "metrics", "fit.json"}
    assert json.loads((run.folder / "fit.json").read_text())["epochs"] == 1
    settings = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert settings["trainer"]["max_epochs"] == 1 and settings["ckpt_path"] is None


def test_built_objects_train_alike(run: Run, tmp_path: Path) -> None:
    other = fit(objects(tmp_path / "other"))
    weights, same = (
        geqlib.load(r.folder / "checkpoints" / "last.ckpt", model=PONITA(**net())).state_dict()
        for r in (run, other)
    )
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert not (other.folder / "config.yaml").exists()


def net() -> dict[str, Any]:
    return tiny.config()["model"]["init_args"]["model"]["init_args"]


@pytest.mark.slow
def test_measuring_and_predicting(run: Run) -> None:
    best = run.folder / "checkpoints" / "best.ckpt"
    assert validate(run, best, verbose=False).keys() == {"val/mse", "val/median"}
    path = run.folder / "config.yaml"
    metrics = run_test(path, best, {"data.init_args.test": 3}, verbose=False)
    results = json.loads((run.folder / "results.json").read_text())
    assert results["metrics"] == pytest.approx(metrics)
    predictions = load_file(predict(path, best, ["--data.init_args.test=3"]))
    error = (predictions["predicted"] - predictions["true"]).square().mean()
    assert float(error) == pytest.approx(metrics["test/mse"], rel=1e-5)


def test_resuming(run: Run, tmp_path: Path) -> None:
    last = run.folder / "checkpoints" / "last.ckpt"
    changes = {"trainer.default_root_dir": str(tmp_path), "trainer.max_epochs": 2}
    fit(tiny.config(), changes, ckpt_path=last)
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 1


def test_checkpoints_carry_a_format(run: Run) -> None:
    stored = read_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    assert stored["geqlib"] == {"format": FORMAT, "version": geqlib.__version__}


def test_interruption_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DisplacementTask, "on_train_epoch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(objects(tmp_path))


def test_changes_as_arguments() -> None:
    changes = {"trainer.max_epochs": 2, "trainer.logger": False, "monitor": "val/mse", "ema": None}
    assert as_arguments(changes) == [
        "--trainer.max_epochs=2",
        "--trainer.logger=false",
        "--monitor=val/mse",
        "--ema=null",
    ]
    assert as_arguments(["--ema=0.5"]) == ["--ema=0.5"]


def test_changes_of_numpy_and_paths_as_arguments() -> None:
    """As text they would be other values: an array of one long word, a path in quotes."""
    changes = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": [Path("x")], "d": np.int64(3)}
    assert as_arguments(changes) == ["--a=0.5", "--b=[1, 2]", '--c=["x"]', "--d=3"]
    with pytest.raises(ValueError, match=r"model\.act is a builtin_function_or_method"):
        as_arguments({"model.act": print})


def test_configurations_with_numbers_of_numpy(tmp_path: Path) -> None:
    settings = tiny.config(1)
    settings["data"]["init_args"] |= {"train": np.int64(8), "charges": np.array([-1.0, 1.0])}
    settings["trainer"]["default_root_dir"] = tmp_path
    run = read_run(settings, {"model.init_args.lr": np.float64(0.25)})
    assert run.data.hparams["train"] == 8 and run.task.lr == 0.25 and run.folder == tmp_path


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'nope' is not accepted"):
        read_run(tiny.config(), {"model.init_args.nope": 3})
    with pytest.raises(ValueError, match=r"none\.yaml"):
        fit(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="overrides are changes to a configuration"):
        fit(objects(tmp_path), {"trainer.max_epochs": 1})
    with pytest.raises(ValueError, match="val/nope"):
        fit(tiny.config(1), {"monitor": "val/nope", "trainer.default_root_dir": str(tmp_path)})
    with pytest.raises(ValueError, match="There is no checkpoint"):
        run_test(objects(tmp_path), tmp_path / "none.ckpt")
