"""Several settings and seeds of one configuration: each trained once, compared, reported."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from geqlib.cli.sweep import listed_values, short_names
from geqlib.report.runs import read_history
from geqlib.report.sweeps import runs_in, write_sweep
from geqlib.train.runs.recipe import difference, read_recipe, write_recipe
from tests.report.test_report import write_run
from tests.train import tiny

RATES = ("0.001", "0.01")


def command(folder: Path, *more: str) -> list[str]:
    where = ["--config", str(folder / "tiny.yaml"), "--out", str(folder / "out")]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches=1"]
    return ["sweep", *where, *short, *more]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny.config()))
    assert tiny.geqlib(command(folder, "--model.lr", *RATES, "--seed_everything", "0", "1")) == 0
    return folder


@pytest.mark.slow
def test_every_combination_is_trained_with_its_settings(sweep: Path) -> None:
    content = json.loads((sweep / "out" / "sweep.json").read_text())
    named = [f"lr{lr}-seed{seed}" for lr in RATES for seed in (0, 1)]
    assert [run["folder"] for run in content["runs"]] == named
    values: dict[str, list[float]] = {lr: [] for lr in RATES}
    for run in content["runs"]:
        folder = sweep / "out" / run["folder"]
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["model"]["init_args"]["lr"] == float(run["settings"]["lr"])
        assert config["seed_everything"] == run["seed"]
        results = json.loads((folder / "results.json").read_text())
        assert results["metrics"] == run["metrics"]
        assert run["validation"] == read_history(folder)["val/mse"][:, 1].min()
        values[run["settings"]["lr"]].append(run["validation"])
    assert content["best"] == {"lr": min(RATES, key=lambda lr: sum(values[lr]))}


@pytest.mark.slow
def test_finished_runs_are_not_trained_again(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one more value, the runs of that value alone."""
    folders = runs_in(sweep / "out")
    before = {f: (f / "checkpoints" / "last.ckpt").stat().st_mtime_ns for f in folders}
    more = ["--model.lr", *RATES, "0.1", "--seed_everything", "0", "1"]
    assert tiny.geqlib(command(sweep, *more)) == 0
    shown = capsys.readouterr()
    assert "lr0.1-seed0, 1 of 2" in shown.err and "lr0.1-seed1, 2 of 2" in shown.err
    assert "best by val/mse: lr 0." in shown.out and "Next: geqlib report" in shown.out
    after = {f: (f / "checkpoints" / "last.ckpt").stat().st_mtime_ns for f in folders}
    assert before == after and len(runs_in(sweep / "out")) == len(folders) + 2


@pytest.mark.slow
def test_other_settings_are_refused(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--model.lr", *RATES, "--model.warmup", "0.2"]
    assert tiny.geqlib(command(sweep, *more)) == 2
    assert "model.init_args.warmup was 0.05 and is 0.2" in capsys.readouterr().err


@pytest.mark.slow
def test_another_model_to_begin_with_is_another_recipe(sweep: Path, tmp_path: Path) -> None:
    """By its content: neither its name nor its place counts."""
    first = tmp_path / "first.ckpt"
    shutil.copy(runs_in(sweep / "out")[0] / "checkpoints" / "best.ckpt", first)
    config = str(sweep / "tiny.yaml")
    recipe = read_recipe(config, [f"--init={first}"])
    write_recipe(tmp_path / "run", recipe)
    moved = shutil.copy(first, tmp_path / "moved.ckpt")
    assert difference(tmp_path / "run", read_recipe(config, [f"--init={moved}"], recipe)) is None
    shutil.copy(runs_in(sweep / "out")[1] / "checkpoints" / "best.ckpt", first)
    sentence = "the model that init names has changed"
    assert (
        difference(tmp_path / "run", read_recipe(config, [f"--init={first}"], recipe)) == sentence
    )
    assert difference(tmp_path / "run", read_recipe(config, (), recipe)) == sentence
    write_recipe(tmp_path / "run", read_recipe(config, (), recipe))
    assert difference(tmp_path / "run", recipe) == sentence


@pytest.mark.slow
def test_a_report_of_a_sweep_has_its_runs(sweep: Path, tmp_path: Path) -> None:
    assert tiny.geqlib(["report", str(sweep / "out"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    assert all(f"| lr{lr} | PONITA | 2 (0, 1) |" in page for lr in RATES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1e-3"], "1e-3 belongs to no option"),
        (["--model.lr"], "--model.lr has no value"),
        (["--model.lr", "1", "--model.lr", "2"], "--model.lr is given twice"),
        (["--model.lr", "1", "1"], "--model.lr has a value twice"),
        (["--ckpt_path", "a"], "--ckpt_path is of one run"),
        (["--trainer.default_root_dir=a"], "name a folder by --out"),
    ],
)
def test_options_that_make_no_sweep(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        listed_values(words)


def test_negative_numbers_are_values() -> None:
    assert listed_values(["--a", "-1", "-2.5", "--b=c d"]) == {"a": ["-1", "-2.5"], "b": ["c d"]}
    assert short_names(["model.init_args.lr", "data.init_args.lr"]) == ["model.lr", "data.lr"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model.lr", "0.1", "-1"], "lr must be positive"),
        (["--model.lrr", "0.1", "0.2"], "lrr"),
        (["--seed_everything", "a"], "--seed_everything is a: write whole numbers"),
        (["--monitor", "val/mse", "val mse"], "Two runs would be"),
    ],
)
def test_wrong_options_end_before_training(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.config()))
    assert tiny.geqlib(command(tmp_path, *options)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert not (tmp_path / "out").exists()


def test_validation_chooses_not_the_test(tmp_path: Path) -> None:
    """Means and deviations by hand; the better test error belongs to the worse validation."""
    settings = []
    for name, mse in (("a", 0.5), ("b", 0.1)):
        for seed in (0, 1):
            folder = write_run(tmp_path, name, seed, mse=mse + 0.1 * seed)
            settings.append((folder, {"lr": name, "seed": str(seed)}, seed))
    log = tmp_path / "b-seed0" / "metrics" / "version_0" / "metrics.csv"
    log.write_text(log.read_text().replace("0.2", "0.9").replace("0.01", "0.9"))
    terminal = io.StringIO()
    console = Console(file=terminal, width=80)
    path = write_sweep(tmp_path, settings, "val/mse", "min", console)
    assert json.loads(path.read_text())["best"] == {"lr": "a"}
    assert "0.5500 ± 0.071" in terminal.getvalue() and "0.1500 ± 0.071" in terminal.getvalue()
    assert "best by val/mse: lr a" in terminal.getvalue()


def test_runs_in_folders(tmp_path: Path) -> None:
    run = write_run(tmp_path / "sweep", "a")
    assert runs_in(tmp_path / "sweep") == [run] and runs_in(run) == [run]
    with pytest.raises(ValueError, match=r"holds no run: name that of a run, or of a sweep"):
        runs_in(tmp_path)
    with pytest.raises(ValueError, match=r"no run folder .*nowhere: name that of a run"):
        runs_in(tmp_path / "nowhere")
