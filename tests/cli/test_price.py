"""`geqlib price`: one run for each group, and their dual variables side by side."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from geqlib.cli.price import show_prices
from tests.train import tiny


def command(folder: Path, *groups: str, eps: str = "0.01") -> list[str]:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny.config(epochs=2)))
    where = ["--config", str(folder / "tiny.yaml"), "--out", str(folder / "out")]
    return ["price", *where, "--groups", *groups, "--eps", eps, "--trainer.limit_train_batches=1"]


@pytest.mark.slow
def test_a_run_with_a_constraint_and_its_dual_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.geqlib(command(tmp_path, "S_n x T(3)")) == 0
    assert "Price of symmetry" in capsys.readouterr().out
    prices = json.loads((tmp_path / "out" / "price.json").read_text())
    price = prices.pop("S_nxT(3)")
    assert not prices
    assert 0 < price["half"] < price["dual"]  # two steps from a loss above eps
    assert price["metric"][0] == "test/mse" and price["plain"] > 0
    config = yaml.safe_load((tmp_path / "out" / "S_nxT_3" / "config.yaml").read_text())
    (callback,) = config["trainer"]["callbacks"]
    assert callback["init_args"]["eps"] == 0.01
    assert tiny.geqlib(command(tmp_path, "S_n x T(3)", eps="0.02")) == 2
    assert "a run that was made otherwise" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("groups", "message"),
    [(("SO(4)",), "'SO(4)' is unknown"), (("SO(3)", "SO(3)"), "SO(3) twice")],
)
def test_bad_groups(
    groups: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.geqlib(command(tmp_path, *groups)) == 2
    assert message in capsys.readouterr().err


def test_options_that_the_runs_have_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.geqlib([*command(tmp_path, "SO(3)"), "--ckpt_path", "last.ckpt"]) == 2
    assert "--ckpt_path is of one run" in capsys.readouterr().err


def test_a_constraint_beside_those_of_the_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose price would be read for theirs, after all of the training."""
    described = {"group": "S_n", "eps": 0.1}
    one = {"class_path": "geqlib.train.InvarianceConstraint", "init_args": described}
    words = [*command(tmp_path, "SO(3)"), f"--trainer.callbacks={json.dumps([one])}"]
    assert tiny.geqlib(words) == 2
    assert "has an InvarianceConstraint among its callbacks" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_group(tmp_path: Path) -> None:
    price = {"dual": 0.0, "half": 0.25, "rising": False, "loss": 0.05, "plain": 0.04, "eps": 0.1}
    price |= {"metric": ("test/mse", 0.5)}
    console = Console(file=io.StringIO(), width=100)
    other = price | {"dual": 7.5, "half": None, "rising": True}
    show_prices(tmp_path, {"SO(2)": price, "SO(3)": other}, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    (two,), (three,) = ([x for x in text.splitlines() if name in x] for name in ("SO(2)", "SO(3)"))
    assert "0.25" in two and "rising" not in two and "test/mse" in text
    assert "7.5" in three and "rising" in three
    assert "with --steps 0, d(loss) / d(eps) = -(dual variable)" in text
    assert "transformed inputs have the loss of inputs as they are" not in text


def test_a_symmetry_of_the_network_is_said_to_have_no_price(tmp_path: Path) -> None:
    price = {"dual": 0.3, "half": 0.2, "rising": False, "eps": 0.1, "metric": None}
    built_in = price | {"loss": 1.0000002, "plain": 1.0}
    console = Console(file=io.StringIO(), width=400)
    measured = price | {"loss": 1.001, "plain": 1.0}
    show_prices(tmp_path, {"S_n": built_in, "SO(3)": measured, "T(3)": built_in}, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "S_n, T(3): transformed inputs have the loss of inputs as they are" in text


def test_the_bound_of_the_dual_variable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reaches the constraint, which refuses it."""
    assert tiny.geqlib([*command(tmp_path, "S_n"), "--bound", "-1"]) == 2
    assert "bound must be positive and finite, got -1" in capsys.readouterr().err
