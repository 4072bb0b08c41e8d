"""The benchmark of uncertainties: its measure of separation, its rows, and a tiny run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks.accuracy import uncertainty
from benchmarks.accuracy.uncertainty import Frames, rows_of, separation
from tests.train import tiny
from tests.train.potential import config, write_frames


def test_separation_is_the_share_of_ordered_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    cold = torch.randint(0, 6, (30,), generator=generator).double()
    hot = torch.randint(2, 8, (20,), generator=generator).double()
    difference = hot[:, None] - cold
    share = (difference > 0).double() + 0.5 * (difference == 0).double()
    assert separation(cold, hot) == pytest.approx(float(share.mean()))
    assert separation(cold, cold + 10) == 1.0


def test_rows_of_honest_deviations() -> None:
    """Normal errors of the deviations that are predicted; hot frames are less certain."""
    generator = torch.Generator().manual_seed(0)

    def frames(scale: float) -> Frames:
        energy = scale * (1 + torch.rand(400, generator=generator).double())
        each = scale * (1 + torch.rand(2000, generator=generator).double())
        errors = [torch.randn(400, generator=generator), torch.randn(2000, 3, generator=generator)]
        largest = each.view(400, 5).amax(1)
        return Frames(errors[0] * energy, energy, errors[1] * each[:, None], each, largest)

    rows = {row.labels: row for row in rows_of("a", {"300 K": frames(0.1), "1200 K": frames(0.3)})}
    assert len(rows) == 4
    hot = rows["a", "forces, 1200 K"]
    assert hot.number("auroc") == 1.0 and "auroc" not in rows["a", "forces, 300 K"].cells
    assert all(row.number("area") < 0.03 for row in rows.values())
    assert hot.number("correlation") > 0.2


@pytest.mark.slow
def test_both_kinds_on_tiny_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "test"):
        write_frames(tmp_path / f"{name}.xyz", 24)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config(tmp_path / "train.xyz")))
    place = ["--trainer.default_root_dir", str(tmp_path / "run")]
    assert tiny.geqlib(["fit", "--config", str(tmp_path / "run.yaml"), *place]) == 0
    begun: dict[str, Any] = {"provenance": {"stamp": "today", "hashes": {}}}
    data: dict[str, Any] = {"energy_key": "E", "forces_key": "F", "cutoff": 3.0}
    plain = uncertainty.MoleculeData

    def tiny_data(train: Any, val: int, test: Any, **_: Any) -> Any:
        return plain(str(tmp_path / "train.xyz"), 6, str(tmp_path / "test.xyz"), **data)

    monkeypatch.setattr(uncertainty, "MoleculeData", tiny_data)
    monkeypatch.setattr(uncertainty, "MEMBERS", 4)
    monkeypatch.setattr(
        uncertainty, "trained_on_frames", lambda run: (tmp_path / "run", {"300 K": begun})
    )
    monkeypatch.setattr(uncertainty, "of_measurement", lambda *_: {"stamp": "today"})
    for kind in uncertainty.KINDS:
        rows = uncertainty.measure(kind)
        assert [row.labels[1] for row in rows] == [
            f"{part}, {name}" for name in uncertainty.FILES for part in ("forces", "energies")
        ]
        assert all(row.labels[0] == uncertainty.KINDS[kind] for row in rows)
        assert all(row.number("rmse") > 0 and 0 <= row.number("area") <= 0.5 for row in rows)
