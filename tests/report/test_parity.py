"""Energies and forces in a report."""

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report import write_report
from geqlib.report.prediction_pictures import draw_parity, number_parities, parities
from geqlib.report.predictions import read_predictions
from tests.report.test_report import PNG, write_run

SIZES = np.array([3, 1, 5, 2])


def predictions(**changes):
    rng = np.random.default_rng(0)
    atoms = int(SIZES.sum())
    arrays = {
        "energy_true": -1000.0 * SIZES,
        "energy": -1000.0 * SIZES + np.array([0.003, -0.002, 0.010, 0.0]),
        "forces_true": rng.normal(size=(atoms, 3)).astype(np.float32),
        "batch": np.repeat(np.arange(4), SIZES),
        "index": np.arange(4),
    }
    arrays["forces"] = arrays["forces_true"] + np.float32(0.5)
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def test_energies_are_counted_an_atom_and_forces_a_component():
    energy, forces = parities(predictions())
    np.testing.assert_allclose(energy.errors, [1.0, -2.0, 2.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(energy.true, 0)  # the mean of the true ones
    assert forces.true.shape == (33,)
    np.testing.assert_allclose(forces.errors, 500.0, rtol=1e-5)


def test_what_is_left_out_is_said(tmp_path):
    """Labels that are missing, and predictions that are no numbers, in picture and page."""
    arrays = predictions()
    arrays["energy_true"][1], arrays["energy"][2] = np.nan, np.inf
    energy, forces = parities(arrays)
    assert (len(energy.true), energy.left_out, forces.left_out) == (2, 2, 0)
    (mass,) = number_parities([("mass", np.array([1.0, 2, np.nan]), np.array([np.nan, 2, 3]))])
    assert (len(mass.true), mass.left_out) == (1, 2)
    run = write_run(tmp_path, "run")
    save_file(arrays, run / "predictions.safetensors")
    page = write_report([run], tmp_path / "report", Console(quiet=True)).read_text()
    assert "without a label or that are no numbers: 2 of Energy." in page


def test_stress_is_a_row_of_its_own():
    true = np.zeros((4, 3, 3))
    true[2:] = np.nan
    arrays = predictions(stress_true=true, stress=np.full((4, 3, 3), 0.002))
    _, _, stress = parities(arrays)
    np.testing.assert_allclose(stress.errors, np.full(18, 2.0))


def test_missing_labels_are_left_out():
    true = predictions()["energy_true"].copy()
    true[1:3] = np.nan
    energy, _ = parities(predictions(energy_true=true))
    np.testing.assert_allclose(energy.errors, [1.0, 0.0], atol=1e-6)
    (forces,) = parities(predictions(energy_true=np.full(4, np.nan)))
    assert forces.name == "Force"
    assert parities(predictions(energy_true=None, forces_true=None)) == []


@pytest.mark.parametrize("all_of_them", [False, True])
def test_predictions_that_are_nan_are_counted(tmp_path, all_of_them):
    """They cannot be drawn, and a report says how many there are; missing labels are not told."""
    arrays = predictions()
    true, forces = arrays["energy_true"].copy(), arrays["forces"].copy()
    true[0] = np.nan
    forces[slice(None) if all_of_them else 2] = np.inf
    stress = np.zeros((4, 3, 3))
    stress[3] = np.nan  # of a molecule
    pressed = {"stress": stress, "stress_true": stress}
    arrays = predictions(energy_true=true, forces=forces, **pressed)
    folder = write_run(tmp_path, "run")
    save_file(arrays, folder / "predictions.safetensors")
    page = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    count = 33 if all_of_them else 3
    assert f"NaN or infinite are not drawn: {count} of force." in page
    assert "of energy" not in page and "of stress" not in page


@pytest.mark.parametrize("copies", [1, 300])
def test_few_points_and_many(tmp_path, copies):
    inputs = predictions()
    for key in ("forces", "forces_true"):
        rng = np.random.default_rng(1)
        inputs[key] = np.concatenate([inputs[key]] * copies) + rng.normal(size=(11 * copies, 3))
    assert draw_parity("a_$run$", parities(inputs), tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(PNG)


def test_a_perfect_single_value(tmp_path):
    one = {"energy": np.zeros(1), "energy_true": np.zeros(1), "batch": np.zeros(1, int)}
    assert draw_parity("one", parities(one), tmp_path / "parity.png")
    nothing = {"energy": np.zeros(1), "batch": np.zeros(1, int)}
    assert not draw_parity("none", parities(nothing), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_report_shows_them(tmp_path):
    folder = write_run(tmp_path, "potential")
    save_file(predictions(), folder / "predictions.safetensors")
    page = write_report([folder], tmp_path / "out", Console(quiet=True))
    assert (tmp_path / "out" / "parity.png").read_bytes().startswith(PNG)
    assert "## Energies and forces" in page.read_text() and "(parity.png)" in page.read_text()
    assert "Predicted trajectories" not in page.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"forces": np.zeros((10, 3))},
        {"energy_true": np.zeros(3)},
        {"batch": np.arange(11)},
        {"energy": np.zeros((4, 1))},
    ],
)
def test_arrays_that_do_not_belong_together(tmp_path, changes):
    save_file(predictions(**changes), tmp_path / "predictions.safetensors")
    with pytest.raises(ValueError, match="do not belong together"):
        read_predictions(tmp_path)
