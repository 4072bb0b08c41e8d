"""One run per folder: nothing is overwritten, continued or reported as something else."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from geqlib.files.checkpoint import read_checkpoint
from geqlib.report import write_report
from geqlib.report.runs import read_history
from geqlib.train.resume import LOADING
from geqlib.train.run import fit, predict
from geqlib.train.run import test as run_test
from geqlib.train.runs.configuration import Run
from geqlib.train.runs.folders import check_folder, check_results, new_folder
from tests.train import tiny
from tests.train.every_task import small_run

pytestmark = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts


def again(folder: Path, **options: Any) -> Run:
    return small_run("regression", folder, **options)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run, tested and predicted."""
    run = fit(again(tmp_path / "run"))
    best = run.folder / "checkpoints" / "best.ckpt"
    run_test(run, best, verbose=False)
    predict(run, best)
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_second_run_is_refused_and_leaves_the_first(run: Run) -> None:
    before = content(run.folder)
    with pytest.raises(ValueError, match=r"holds a run .*default_root_dir.*--ckpt_path.*--overwr"):
        fit(again(run.folder))
    assert content(run.folder) == before


def test_nothing_of_an_overwritten_run_is_left(run: Run, tmp_path: Path) -> None:
    """Results, predictions, curves and checkpoints are those of the new run, or not there."""
    (run.folder / "notes.txt").write_text("my own")
    fit(again(run.folder, max_epochs=1), overwrite=True)
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"notes.txt", "fit.json", "checkpoints", "metrics", "tensorboard"}
    for name in ("best.ckpt", "last.ckpt"):
        assert read_checkpoint(run.folder / "checkpoints" / name)["epoch"] == 0
    fresh = fit(again(tmp_path / "fresh", max_epochs=1)).folder
    curves, expected = read_history(run.folder), read_history(fresh)
    assert curves.keys() == expected.keys()
    assert all((curves[k] == expected[k]).all() for k in curves)


def test_an_overwriting_run_that_cannot_start_overwrites_nothing(run: Run) -> None:
    before = content(run.folder)
    with pytest.raises(ValueError, match="precision bf16-true"):
        fit(again(run.folder, precision="bf16-true"), overwrite=True)
    after = content(run.folder)
    assert {k: after[k] for k in before} == before


def test_a_resumed_run_has_no_results_of_its_earlier_weights(run: Run) -> None:
    last = run.folder / "checkpoints" / "last.ckpt"
    fit(again(run.folder, max_epochs=3), ckpt_path=last)
    assert not (run.folder / "results.json").exists()
    assert not (run.folder / "predictions.safetensors").exists()
    assert json.loads((run.folder / "fit.json").read_text())["epochs"] == 3


def test_a_run_is_resumed_from_its_own_checkpoint_alone(run: Run, tmp_path: Path) -> None:
    other = fit(again(tmp_path / "other")).folder / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match="holds a run"):
        fit(again(run.folder, max_epochs=3), ckpt_path=other)
    into = fit(again(tmp_path / "into", max_epochs=3), ckpt_path=other).folder
    assert read_checkpoint(into / "checkpoints" / "last.ckpt")["epoch"] == 2
    with pytest.raises(ValueError, match="resumed or overwritten"):
        check_folder(run.folder, other, overwrite=True)


@pytest.mark.parametrize("command", [run_test, predict])
def test_results_of_one_run_do_not_go_to_another(command: Any, run: Run, tmp_path: Path) -> None:
    other = fit(again(tmp_path / "other")).folder / "checkpoints" / "best.ckpt"
    before = content(run.folder)
    with pytest.raises(ValueError, match="does not belong to the run in"):
        command(run, other)
    assert content(run.folder) == before
    run.trainer = {**run.trainer, "default_root_dir": tmp_path / "elsewhere"}
    command(run, other)


def test_fast_development_runs_touch_nothing(run: Run) -> None:
    before = content(run.folder)
    fit(again(run.folder, fast_dev_run=True))
    best = run.folder / "checkpoints" / "best.ckpt"
    run_test(again(run.folder, fast_dev_run=True), best, verbose=False)
    predict(again(run.folder, fast_dev_run=True), best)
    assert content(run.folder) == before


def test_runs_without_a_folder_get_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for _ in range(2):
        run = again(tmp_path / "any")
        run.trainer = {k: v for k, v in run.trainer.items() if k != "default_root_dir"}
        folders.append(fit(run).folder)
    assert [str(folder) for folder in folders] == ["runs/default", "runs/default-2"]
    run.trainer = {k: v for k, v in run.trainer.items() if k != "default_root_dir"}
    last = tmp_path / "runs" / "default" / "checkpoints" / "last.ckpt"
    run_test(run, last, verbose=False)
    assert (tmp_path / "runs" / "default" / "results.json").exists()
    run.trainer = {k: v for k, v in run.trainer.items() if k != "default_root_dir"}
    run.trainer |= {"max_epochs": 3}
    assert fit(run, ckpt_path=last).folder == tmp_path / "runs" / "default"
    assert not (tmp_path / "runs" / "default-3").exists()


def test_a_run_that_cannot_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = again(tmp_path / "any", precision="bf16-true", logger=False)
    run.trainer = {k: v for k, v in run.trainer.items() if k != "default_root_dir"}
    with pytest.raises(ValueError, match="precision"):
        fit(run)
    assert not list((tmp_path / "runs").iterdir())


def test_folders_are_claimed_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path / "default"), range(16)))
    assert len(set(folders)) == 16 and all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize(
    "file",
    [
        "checkpoints/last.ckpt",
        "checkpoints/epoch=3.ckpt",
        "fit.json",
        "results.json",
        "predictions.xyz",
        "metrics/version_3/metrics.csv",
    ],
)
def test_what_shows_that_a_folder_holds_a_run(file: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()  # a user's own, say
    check_folder(tmp_path, None, overwrite=False)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(ValueError, match="holds a run"):
        check_folder(tmp_path, None, overwrite=False)
    check_folder(tmp_path, None, overwrite=True)
    check_folder(tmp_path, tmp_path / "checkpoints" / "last.ckpt", overwrite=False)


def test_results_of_copied_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    check_results(tmp_path / "mine", tmp_path / "elsewhere.ckpt")  # nothing to mix with
    (tmp_path / "mine" / "checkpoints" / "last.ckpt").touch()
    check_results(tmp_path / "mine", tmp_path / "mine" / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match="does not belong to the run"):
        check_results(tmp_path / "mine", tmp_path / "elsewhere.ckpt")


@pytest.mark.slow
def test_commands(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """fit, a second fit, --overwrite, and the command of a report."""
    folder = tmp_path / "run"
    assert tiny.geqlib(tiny.command("fit", folder, epochs=1)) == 0
    assert tiny.geqlib(tiny.command("fit", folder, epochs=1)) == 2
    assert "holds a run" in capsys.readouterr().err
    assert tiny.geqlib(tiny.command("fit", folder, "--overwrite", epochs=2)) == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert "overwrite" not in config and config["trainer"]["max_epochs"] == 2
    page = write_report([folder], tmp_path / "report", Console(quiet=True)).read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("geqlib fit")]
    before = content(folder)
    assert tiny.geqlib(shlex.split(line)[1:]) == 0
    assert content(folder) == before
    weights, same = (
        read_checkpoint(f / "checkpoints" / "last.ckpt")["state_dict"]
        for f in (folder, tmp_path / "run-again")
    )
    assert all(torch.equal(weights[key], same[key]) for key in weights)


@pytest.mark.slow
def test_a_command_without_a_folder_says_where_the_run_is(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = tiny.command("fit", tmp_path / "run", epochs=1)[:3]
    for name in ("default", "default-2"):
        assert tiny.geqlib(arguments) == 0
        assert f"The run is in runs/{name}." in capsys.readouterr().err
        config = yaml.safe_load((tmp_path / "runs" / name / "config.yaml").read_text())
        assert config["trainer"]["default_root_dir"] == f"runs/{name}"


# --- settings of a resumed run -------------------------------------------------------------------


def resumed(run: Run, **changes: Any) -> tuple[Run, list[str]]:
    """The run, resumed with other settings of its task, and what was said."""
    options = changes.pop("options", {})
    new = again(run.folder, max_epochs=3, **options)
    for name, value in changes.items():
        setattr(new.task, name, value)
        new.task.hparams[name] = value
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(new, ckpt_path=run.folder / "checkpoints" / "last.ckpt")
    return new, [str(w.message) for w in said if "resumed with other" in str(w.message)]


def rates(folder: Path) -> list[float]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["lr_schedulers"][0]["base_lrs"]


def test_a_finished_cosine_that_goes_on_says_so(run: Run) -> None:
    """Two of two epochs are done, at a rate of 0: with a third it is that of step 4 of 6."""
    _, (said,) = resumed(run)
    assert "the learning rate was 0 at step 4 and is 0.0005 from there" in said


def test_another_learning_rate_is_applied(run: Run) -> None:
    new, (said,) = resumed(run, lr=0.1)
    assert "and is 0.025 from there, on the schedule of this run's lr (0.1)" in said
    assert rates(run.folder) == [0.1, 0.1]
    assert {group["initial_lr"] for group in new.task.optimizers().param_groups} == {0.1}


def test_another_weight_decay_is_applied(run: Run) -> None:
    new, (said,) = resumed(run, weight_decay=0.25)
    assert "weight_decay is 0.25 from here" in said
    assert [g["weight_decay"] for g in new.task.optimizers().param_groups] == [0.25, 0.0]


def test_other_data_and_other_arguments_are_named(run: Run) -> None:
    """Another draw of the splits may put frames of validation into training."""
    new = again(run.folder, max_epochs=3)
    name = next(name for name in new.data.hparams if name not in LOADING)
    new.data.hparams[name] = "others"
    new.task.hparams["rotate"] = "otherwise"
    with pytest.warns(UserWarning, match="resumed with other") as said:
        fit(new, ckpt_path=run.folder / "checkpoints" / "last.ckpt")
    (sentence,) = (str(w.message) for w in said if "resumed with other" in str(w.message))
    assert re.search(f"{name} of the data was .* and is 'others'", sentence)
    assert "rotate was" in sentence and "and is 'otherwise'" in sentence


def test_the_same_settings_say_nothing(tmp_path: Path) -> None:
    """A run that was stopped after one of three epochs."""
    run = again(tmp_path / "run", max_epochs=3)
    run.task.on_train_epoch_end = lambda: setattr(run.task.trainer, "should_stop", True)
    fit(run)
    assert read_checkpoint(run.folder / "checkpoints" / "last.ckpt")["epoch"] == 0
    _, said = resumed(run)
    assert not said


def test_averaged_weights_are_not_lost(tmp_path: Path) -> None:
    run = fit(again(tmp_path / "run", ema=0.9))
    last = run.folder / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match=r"averaged weights .* resume it with the `ema`"):
        fit(again(run.folder, max_epochs=3), ckpt_path=last)
    fit(again(run.folder, max_epochs=3, ema=0.9), ckpt_path=last)


@pytest.mark.parametrize(("name", "value"), [("references", "none"), ("amsgrad", True)])
def test_what_cannot_change_within_a_run_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    run = fit(small_run("energy", tmp_path / "run"))
    new = small_run("energy", tmp_path / "run", max_epochs=3)
    setattr(new.task, name, value)
    with pytest.raises(ValueError, match=f"{name} is {value!r}, but the checkpoint was trained"):
        fit(new, ckpt_path=run.folder / "checkpoints" / "last.ckpt")
