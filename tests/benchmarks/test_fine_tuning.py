"""The benchmark of fine-tuning: its runs on tiny frames, and what its rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import training
from benchmarks.accuracy import fine_tuning
from geqlib.train.run import fit
from geqlib.train.run import test as measure
from tests.train.potential import write_frames


def test_runs_have_equal_steps() -> None:
    settings = {way: fine_tuning.settings("ethanol", way, 1e-3) for way in fine_tuning.WAYS}
    steps = fine_tuning.FRAMES // fine_tuning.BATCH
    plain = settings["tuned"]["trainer.max_epochs"] * steps
    weight = settings["replay"]["data.replay"]["weight"]
    assert plain == settings["replay"]["trainer.max_epochs"] * steps * (1 + weight)
    assert plain == settings["scratch"]["trainer.max_epochs"] * steps == fine_tuning.STEPS
    assert "init" not in settings["scratch"] and "data.replay" not in settings["tuned"]
    assert {pair.train for pair in fine_tuning.PAIRS.values()}.isdisjoint({fine_tuning.OLD})


@pytest.mark.slow
def test_the_whole_chain_on_tiny_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with one rate, one step an epoch, and files of a few frames."""
    config = yaml.safe_load(fine_tuning.CONFIG.read_text())
    small = {"channels": 2, "degree": 1, "order": 2, "layers": 1, "cutoff": 3.0}
    config["model"]["init_args"]["model"]["init_args"] = small | {"elements": ["H", "C", "O"]}
    keys = {"energy_key": "E", "forces_key": "F", "cutoff": 3.0, "num_train": 6}
    config["data"]["init_args"] |= keys | {"val": 4, "train": str(tmp_path / "old.xyz")}
    config["data"]["init_args"]["test"] = str(tmp_path / "old_test.xyz")
    config["trainer"] |= {"max_epochs": 1, "accelerator": "cpu"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    for name in ("old", "old_test", "new"):
        write_frames(tmp_path / f"{name}.xyz", 14)
    pair = fine_tuning.Pair("a to b", str(tmp_path / "new.xyz"), 4, ("O", "C", "N", "H"), {})

    def run_here(*arguments: str) -> None:
        named = dict(word.removeprefix("--").partition("=")[::2] for word in arguments[1:])
        path, checkpoint = named.pop("config"), named.pop("ckpt_path", None)
        overwrite = named.pop("overwrite", None) is not None
        if arguments[0] == "fit":
            fit(path, named, ckpt_path=checkpoint, overwrite=overwrite)
        else:
            assert checkpoint is not None
            measure(path, checkpoint, named)

    for module in (training, fine_tuning):
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(training, "_geqlib", run_here)
    tiny: dict[str, Any] = {
        "CONFIG": tmp_path / "tiny.yaml",
        "folder_of": lambda run: tmp_path / "runs" / f"first-{run}",
        "trained_on_aspirin": lambda run: training.trained(
            tmp_path / "runs" / f"first-{run}", tmp_path / "tiny.yaml", training.QUIET, 0
        ),
        "PAIRS": {"b": pair},
        "OLD": str(tmp_path / "old.xyz"),
        "OLD_TEST": str(tmp_path / "old_test.xyz"),
        "OLD_FRAMES": 6,
        "FRAMES": 5,
        "VALIDATION": 4,
        "EPOCHS": 2,
        "RATES": (1e-3,),
    }
    for name, value in tiny.items():
        monkeypatch.setattr(fine_tuning, name, value)
    rows = list(fine_tuning.measure("b"))
    assert [row.labels[1] for row in rows] == list(fine_tuning.WAYS.values())
    assert all(row.number("forces") > 0 for row in rows)
    assert "old" not in rows[0].cells and rows[1].number("old") > 0
    share = rows[1].number("forces") / rows[0].number("forces")
    assert "share" not in rows[0].cells and rows[1].number("share") == pytest.approx(share)
    monkeypatch.setattr(training, "_geqlib", lambda *_: pytest.fail("trained again"))
    assert list(fine_tuning.measure("b")) == rows
