"""Loggers beside the CSV file: folders, reports, missing packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from lightning.pytorch.loggers import Logger

from geqlib.cli.report import main as report
from geqlib.report.runs import read_history
from geqlib.train.runs.loggers import into_folder, loggers_of
from tests.cli.test_main import refused
from tests.train import tiny

pytestmark = pytest.mark.filterwarnings("ignore")


class Own(Logger):
    """A logger of a user, which keeps what it is told."""

    told: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, save_dir: str = "logs") -> None:
        super().__init__()
        self.told.append(("save_dir", save_dir))

    @property
    def name(self) -> str:
        return "own"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.told.append(("hyperparams", dict(params)))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told += metrics.items()


def fitted(folder: Path, *options: str) -> Path:
    run = folder / "run"
    assert tiny.geqlib(tiny.command("fit", run, *options, epochs=1)) == 0
    return run


def logged(run: Path) -> bool:
    """Whether the run has what every run has, whatever logs it."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["default_root_dir"] == str(run)
    assert report([str(run), "--out", str(run / "report")]) == 0
    return len(read_history(run)["val/mse"]) == 1


def test_a_logger_of_ones_own(tmp_path: Path) -> None:
    Own.told.clear()
    run = fitted(tmp_path, "--trainer.logger", f"{__name__}.Own")
    assert Own.told[0] == ("save_dir", str(run / "logs"))
    told = dict(Own.told)
    assert told["hyperparams"]["lr"] == 3e-3 and told["val/mse"] > 0
    assert logged(run) and not (run / "tensorboard").exists()
    config = yaml.safe_load((run / "config.yaml").read_text())
    # so that the same configuration logs elsewhere, when it is trained elsewhere
    assert config["trainer"]["logger"]["init_args"]["save_dir"] == "logs"
    (last,) = {value for name, value in Own.told if name == "val/mse"}
    assert last == pytest.approx(read_history(run)["val/mse"][0, 1], rel=1e-6)


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for k, options in enumerate(
        ([], ["--trainer.logger", "TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path}/tb"])
    ):
        (tmp_path / str(k)).mkdir()
        run = fitted(tmp_path / str(k), *options)
        place = run / "tensorboard" if not options else tmp_path / "tb"
        (file,) = place.rglob("events.out.*")
        reader = events.EventAccumulator(str(file.parent))
        reader.Reload()
        values = [event.value for event in reader.Scalars("val/mse")]
        assert values == pytest.approx(list(read_history(run)["val/mse"][:, 1]), rel=1e-6)
        assert logged(run)


@pytest.mark.slow
def test_weights_and_biases(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = fitted(tmp_path, "--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true")
    assert list((run / "wandb").glob("offline-run-*")) and logged(run)


@pytest.mark.slow
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = fitted(tmp_path, "--trainer.logger", "MLFlowLogger")
    assert list((run / "mlruns").rglob("metrics/val/mse")) and logged(run)


@pytest.mark.parametrize(("name", "package"), [("WandbLogger", "wandb"), ("CometLogger", "comet")])
def test_a_missing_package_is_named(
    name: str, package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    line = refused(tiny.command("fit", tmp_path / "run", "--trainer.logger", name), capsys)
    assert f"{name} needs {package}" in line and f"pip install {package}" in line
    assert "Expected" not in line and not (tmp_path / "run").exists()


def test_which_loggers(tmp_path: Path) -> None:
    own = Own()
    assert loggers_of(tmp_path, False) is False and loggers_of(tmp_path, []) is False
    for chosen in (own, [own]):
        csv, other = loggers_of(tmp_path, chosen)
        assert other is own and Path(csv.log_dir).parent == tmp_path / "metrics"
    assert loggers_of(tmp_path, True)[0].name == "metrics"


def test_a_folder_that_is_named_stays() -> None:
    config = {"class_path": f"{__name__}.Own", "init_args": {"save_dir": "elsewhere"}}
    into_folder([config, {"class_path": f"{__name__}.Own"}, None], "runs/mine")
    assert config["init_args"]["save_dir"] == "elsewhere"


def test_a_class_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(tiny.command("fit", tmp_path / "run", "--trainer.logger", "Nope"), capsys)
    assert "trainer.logger: there is no class 'Nope'" in line and "Expected" not in line
