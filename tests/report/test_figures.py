"""What the pictures and cells of a report are computed from."""

import numpy as np
import pytest

from geqlib.report.pictures import spread
from geqlib.report.prediction_pictures import at_quantiles, project, simulation_errors
from geqlib.report.tables import number


def test_quantiles_of_simulations():
    errors = np.random.default_rng(0).permutation(101).astype(float)
    assert [errors[k] for k in at_quantiles(errors).values()] == [10, 30, 50, 70, 90, 99]
    assert len(at_quantiles(errors[:2])) == 2


def test_error_is_the_mean_over_a_simulation():
    batch = np.array([4, 7, 4, 9])
    true = np.zeros((4, 2), dtype=np.float32)
    predicted = np.array([[1, 0], [2, 2], [0, 3], [0, 0]], dtype=np.float32)
    graphs, errors = simulation_errors({"batch": batch, "true": true, "predicted": predicted})
    assert graphs.tolist() == [4, 7, 9] and errors.tolist() == [2.5, 4, 0]


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_projection_keeps_the_largest_axes(dim):
    flat = np.random.default_rng(0).normal(size=(20, dim)) * [3, 2, 0, 0][:dim]
    (shown,) = project(flat, flat.reshape(4, 5, dim))
    assert shown.shape == (4, 5, 2)
    lengths = np.linalg.norm(shown.reshape(20, 2), axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(flat - flat.mean(0), axis=1), atol=1e-9)


def test_labels_do_not_overlap():
    assert spread([], 0.1).tolist() == []
    np.testing.assert_allclose(spread([0.2, 0.5, 0.52], 0.1), [0.2, 0.46, 0.56])
    np.testing.assert_allclose(spread([-3.0, 2.0], 0.1), [0, 1])
    assert np.diff(spread([0.99, 1.0, 1.0], 0.5)).min() > 0.33


def test_numbers():
    values = [0, 0.0051234, 12345.6, 1.5, 2.5e-7, -3.14159e8, float("inf")]
    shown = ["0", "0.005123", "12346", "1.500", "2.500e-07", "-3.142e+08", "inf"]
    assert [number(value) for value in values] == shown
