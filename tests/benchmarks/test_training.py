"""Training runs of benchmarks: what their results hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import training
from geqlib.cli import main
from geqlib.files.checkpoint import read_checkpoint
from tests.cli.test_sample import CONFIG
from tests.data.molecules.raw_qm9 import write_npz


@pytest.mark.parametrize("tested", [None, {"data.init_args.test_rotation": "random"}])
def test_results_hold_the_training(
    tested: dict[str, object] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a test that has a folder of its own, in which nothing was trained."""
    folder = tmp_path / "run"

    def fitted(folder: Path, *_: object) -> None:
        folder.mkdir()
        (folder / "fit.json").write_text('{"parameters": 5}')

    def tests(*arguments: str) -> None:
        root = next(a.partition("=")[2] for a in arguments if "default_root_dir" in a)
        Path(root).mkdir(exist_ok=True)
        results = {"metrics": {"test/loss": 1.0}, "fit": {}}
        Path(root, "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(training, "fitted", fitted)
    monkeypatch.setattr(training, "_geqlib", tests)
    first = training.trained(folder, Path("unused.yaml"), {}, 0, tested)
    assert first["metrics"] == {"test/loss": 1.0} and first["fit"] == {"parameters": 5}
    monkeypatch.setattr(training, "_geqlib", None)  # what is finished is read
    assert training.trained(folder, Path("unused.yaml"), {}, 0, tested) == first


def test_a_longer_budget_goes_on_with_a_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the constant rate; a shorter budget than was trained begins anew."""
    commands: list[dict[str, str]] = []

    def trains(kind: str, *arguments: str) -> None:
        words = dict(a.removeprefix("--").partition("=")[::2] for a in arguments)
        commands.append(words)
        folder = Path(words["trainer.default_root_dir"])
        last = folder / "checkpoints" / "last.ckpt"
        last.parent.mkdir(parents=True, exist_ok=True)
        start = last.read_text() if "ckpt_path" in words else ""
        last.write_text(f"{start} {folder.name} to {words['trainer.max_epochs']},")
        (folder / "fit.json").write_text(json.dumps({"epochs": int(words["trainer.max_epochs"])}))

    monkeypatch.setattr(training, "_geqlib", trains)
    monkeypatch.setattr(training, "recorded", lambda folder, script: None)
    texts = {}
    for total in (5, 10, 5, 20, 1):
        folder = tmp_path / f"{total}"
        run = (tmp_path / "constant", folder, Path("a.yaml"), {"ema": 0.5}, 0)
        assert training.branched(*run, (int(0.8 * total), total)) == folder
        texts[total] = (folder / "checkpoints" / "last.ckpt").read_text()
    assert texts[5] == " constant to 4, 5 to 5,"
    assert texts[10] == " constant to 4, constant to 8, 10 to 10,"
    assert texts[20] == " constant to 4, constant to 8, constant to 16, 20 to 20,"
    assert texts[1] == " 1 to 1,"  # shorter than an epoch at the constant rate
    assert len(commands) == 7  # what is finished is not trained again
    assert [words["model.init_args.schedule"] for words in commands[:2]] == [
        "constant",
        '{"cosine": {"after": 0.8}}',
    ]
    training.branched(tmp_path / "constant", tmp_path / "new", Path("a.yaml"), {}, 0, (8, 10))
    assert (tmp_path / "new" / "checkpoints" / "last.ckpt").read_text() == " new to 10,"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_branch_is_the_run_of_its_whole_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, averaged weights included."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_npz(tmp_path)
    monkeypatch.setattr(training, "_geqlib", lambda *words: main([*words]) and pytest.fail())
    monkeypatch.setattr(training, "recorded", lambda folder, script: None)
    config = tmp_path / "a.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    options = {"model.init_args.sample_every": 0}
    for name, constant in (("short", 1), ("long", 2)):
        training.branched(tmp_path / "constant", tmp_path / name, config, options, 0, (constant, 3))
    training.fitted(
        tmp_path / "anew",
        config,
        options
        | {"model.init_args.schedule": {"cosine": {"after": 2 / 3}}, "trainer.max_epochs": 3},
        0,
    )
    long, anew, short = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("long", "anew", "short")
    )
    assert all(torch.equal(long[name], anew[name]) for name in anew)
    assert not all(torch.equal(long[name], short[name]) for name in short)
