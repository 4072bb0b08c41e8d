"""Rows of two precisions, and what the second has more, run by run."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accuracy import precision


def result(value: float, minutes: float) -> dict[str, Any]:
    return {
        "metrics": {"test/mse": value},
        "fit": {"processor_seconds": 60 * minutes},
        "provenance": {"stamp": "geqlib 2.0 at abc", "hashes": {}},
    }


def test_differences_are_paired() -> None:
    runs = {
        "float32": [result(1.0, 2.0), result(2.0, 2.0)],
        "bf16-mixed": [result(1.5, 3.0), result(2.25, 5.0)],
    }
    table = precision.table(precision.SUBJECTS["nbody"], runs)
    assert table.heads == ("5-body, PONITA",)
    more = table.row("bf16-mixed").value("more")
    assert more.seeds == (0.5, 0.25) and more.mean == pytest.approx(0.375)
    assert table.row("bf16-mixed").number("minutes") == 4.0
    assert "more" not in table.row("float32").cells


def test_every_run_has_its_counterpart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same folders, but for the precision, and options that differ in it alone."""
    calls: list[tuple[str, dict[str, Any], int]] = []

    def trained(folder, config, options, seed):
        calls.append((folder.name, dict(options), seed))
        return result(0.0, 0.0)

    monkeypatch.setattr(precision, "trained", trained)
    for task in precision.SUBJECTS:
        calls.clear()
        for name in precision.PRECISIONS.values():
            precision.trained_in(task, name)
        half = len(calls) // 2
        assert half == (10 if task == "mutag" else 3)
        for (folder, options, seed), (other, changed, same) in zip(
            calls[:half], calls[half:], strict=True
        ):
            assert folder.replace("32-true", "bf16-mixed") == other and seed == same
            assert options.pop("trainer.precision") != changed.pop("trainer.precision")
            assert options == changed
