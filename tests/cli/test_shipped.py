"""Configurations of the library are found by name in any folder, unless it has its own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from geqlib.cli import shipped
from geqlib.cli.shipped import with_shipped_configurations
from tests.train import tiny

CLONE = Path(__file__).parents[2]
NAME = "configs/moons_inset.yaml"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_by_name() -> None:
    path = str(CLONE / NAME)
    assert with_shipped_configurations(["--config", NAME, "--out", NAME]) == [
        *("--config", path),
        *("--out", NAME),
    ]
    assert with_shipped_configurations([f"--config={NAME}"]) == [f"--config={path}"]
    for words in (["--config"], ["--config", "configs/no.yaml"], ["--config", f"a/{NAME}"]):
        assert with_shipped_configurations(words) == words


def test_a_file_of_the_folder_comes_first() -> None:
    Path("configs").mkdir()
    Path(NAME).write_text("monitor: val/loss\n")
    assert with_shipped_configurations(["--config", NAME]) == ["--config", NAME]


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "geqlib" / "configs").mkdir(parents=True)
    (tmp_path / "geqlib" / NAME).touch()
    monkeypatch.setattr(shipped, "PLACES", (tmp_path / "geqlib" / "configs",))
    assert shipped.shipped(NAME) == str(tmp_path / "geqlib" / NAME)
    wheel = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["force-include"] == {"configs": "geqlib/configs"}


def test_a_run_in_an_empty_folder() -> None:
    few = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.limit_val_batches=1"]
    few += ["--data.train=4", "--data.val=4", "--data.size=10", "--data.chosen=2"]
    small = ["--model.model.channels=4", "--model.model.hidden=4"]
    small += ["--model.model.embed.channel_list=[2,8,4]"]
    assert tiny.geqlib(["fit", "--config", NAME, *few, *small]) == 0
