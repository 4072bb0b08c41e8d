"""Reliability of standard deviations: shares of errors against those of drawn ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file
from scipy.stats import norm

from geqlib.atoms.miscalibration import interval_shares, miscalibration_area
from geqlib.report import write_report
from geqlib.report.reliability import draw_reliability, reliabilities, reliability_table
from tests.report.test_report import write_run


def arrays(factor: float = 1.0, structures: int = 60, atoms: int = 4) -> dict[str, np.ndarray]:
    """Errors drawn from deviations that are `factor` times too small."""
    rng = np.random.default_rng(0)
    batch = np.repeat(np.arange(structures), atoms)
    deviations = rng.uniform(0.01, 0.2, len(batch))
    energy = rng.uniform(0.05, 0.5, structures)
    return {
        "batch": batch,
        "energy": rng.normal(size=structures) * energy * factor,
        "energy_true": np.zeros(structures),
        "energy_std": energy,
        "forces": rng.normal(size=(len(batch), 3)) * deviations[:, None] * factor,
        "forces_true": np.zeros((len(batch), 3)),
        "forces_std": deviations,
    }


def test_shares_are_counts() -> None:
    """One interval after the other, by the quantiles of the normal distribution."""
    scaled = np.random.default_rng(1).normal(size=50) * 1.4
    levels, share = interval_shares(scaled, 10)
    for level, part in zip(levels, share, strict=True):
        half = norm.ppf((1 + level) / 2)
        assert part == pytest.approx((np.abs(scaled) <= half).mean())
    assert miscalibration_area(scaled, 10) == pytest.approx(np.abs(share - levels).mean())


def test_deviations_that_are_right_have_a_small_area() -> None:
    energy, force = reliabilities(arrays(structures=400))
    assert miscalibration_area(force.scaled) < 0.02 > 0.3 * miscalibration_area(energy.scaled)
    wrong = reliabilities(arrays(3.0, structures=400))[1]
    assert miscalibration_area(wrong.scaled) > 0.2
    predicted, errors = force.bins()
    assert np.all(np.diff(predicted) > 0)
    np.testing.assert_allclose(errors, predicted, rtol=0.2)


def test_energies_are_per_atom_and_missing_labels_left_out() -> None:
    values = arrays()
    values["energy_true"][:50] = np.nan
    values["forces_true"][0, 0] = np.nan
    energy, force = reliabilities(values)
    assert len(energy.errors) == 10 and len(force.errors) == 3 * 240 - 1
    np.testing.assert_allclose(energy.deviations, 1000 * values["energy_std"][50:] / 4)
    assert reliabilities({k: v for k, v in values.items() if not k.endswith("_std")}) == []
    row = reliability_table([energy])
    assert row.rows[0][:2] == ("Energy (meV per atom)", "10")


def test_what_is_not_finite_is_counted() -> None:
    """A deviation or a prediction that is no number is no missing label."""
    values = arrays()
    values["energy_std"][:3] = np.nan
    values["energy"][3], values["energy_true"][4] = np.inf, np.nan
    values["forces_std"][7] = 0.0
    labels = reliabilities(values)
    assert [label.lost for label in labels] == [4, 3]
    rows = reliability_table(labels).rows
    assert [row[1] for row in rows] == ["55, 4 not finite", "717, 3 not finite"]


def test_without_deviations_nothing_is_drawn(tmp_path: Path) -> None:
    """With them, the report of a calibrated run has the section: tests/train/test_calibration.py"""
    plain = {k: v for k, v in arrays().items() if not k.endswith("_std")}
    assert not draw_reliability("run", reliabilities(plain), tmp_path / "reliability.png")
    assert not (tmp_path / "reliability.png").exists()


def test_deviations_of_another_shape_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run")
    save_file(arrays() | {"forces_std": np.ones(3)}, run / "predictions.safetensors")
    with pytest.raises(ValueError, match=r"forces_std \[3\]"):
        write_report([run], tmp_path / "report", Console(quiet=True))
