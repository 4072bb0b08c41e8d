"""The table of what fine-tuned runs have forgotten, from run folders alone."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from geqlib.report.forgetting import forgetting_table
from geqlib.report.run_report import write_report
from geqlib.report.runs import read_run

NEW = (30.0, 10.0, 20.0)
OLD = (50.0, 44.0, 60.0)


def folder(path: Path, *, old: bool = True, begun: bool = True) -> Path:
    """Three epochs, the second of which is the best."""
    (path / "metrics" / "version_0").mkdir(parents=True)
    (path / "config.yaml").write_text("monitor: val/forces_rmse\nmonitor_mode: min\n")
    names = ["epoch", "step", "train/loss", "val/forces_rmse", "val/old/forces_rmse"]
    lines = [
        [str(k), str(4 * k + 3), "1.0", str(NEW[k]), str(OLD[k])][: 5 if old else 4]
        for k in range(3)
    ]
    text = "\n".join(",".join(line) for line in [names[: 5 if old else 4], *lines])
    (path / "metrics" / "version_0" / "metrics.csv").write_text(text + "\n")
    if begun:
        record = {"path": "runs/metal/checkpoints/best.ckpt", "sha256": "12"}
        record |= {"old": {"forces_rmse": 40.0}} if old else {}
        (path / "init.json").write_text(json.dumps(record))
    return path


def test_before_and_at_the_best_epoch(tmp_path: Path) -> None:
    table = forgetting_table([read_run(folder(tmp_path / "run"))])
    assert table is not None
    assert table.rows == (("run", "forces_rmse", "40.00", "44.00", "+10 %"),)


def test_without_old_structures_or_a_first_model(tmp_path: Path) -> None:
    assert forgetting_table([read_run(folder(tmp_path / "none", old=False))]) is None
    table = forgetting_table([read_run(folder(tmp_path / "joint", begun=False))])
    assert table is not None and table.rows[0][2:] == ("-", "44.00", "-")


def test_the_report_has_the_table_and_a_curve(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    text = write_report([run], tmp_path / "out", Console(quiet=True)).read_text()
    assert "What was known before" in text and "+10 %" in text
    assert "runs/metal/checkpoints/best.ckpt" in text
    plain = folder(tmp_path / "plain", old=False, begun=False)
    text = write_report([plain], tmp_path / "plain-out", Console(quiet=True)).read_text()
    assert "What was known before" not in text
    sizes = [(tmp_path / n / "learning_curves.png").stat().st_size for n in ("out", "plain-out")]
    assert sizes[0] > sizes[1]
