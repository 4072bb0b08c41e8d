"""References, scale and shift are those that their definitions give."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from geqlib.train.tasks.references import TrainingSet, fit_statistics, summarise

E0 = {1: -13.587222780835477, 6: -1029.4889999855063, 8: -2041.9816003861047}


def counts(*rows):
    """[G, 119] from numbers of H, C and O."""
    actual = np.zeros((len(rows), 119), dtype=int)
    actual[:, list(E0)] = rows
    return actual


MANY = counts([2, 0, 1], [4, 1, 0], [6, 2, 1], [0, 1, 2], [2, 2, 0])


def frames(numbers, energies=None, rms=float("nan")):
    alone = numbers[:, list(E0)] @ np.array(list(E0.values()))
    return TrainingSet(numbers, alone if energies is None else np.asarray(energies), rms)


def test_least_squares_finds_exact_references():
    """The condition number of the compositions is below 10."""
    actual = fit_statistics(frames(MANY, rms=0.5))
    expected = torch.zeros(119, dtype=torch.float64)
    expected[list(E0)] = torch.tensor(list(E0.values()), dtype=torch.float64)
    torch.testing.assert_close(actual.references, expected, rtol=0, atol=1e-10)
    assert actual.seen.nonzero().flatten().tolist() == [1, 6, 8]
    assert actual.scale == 0.5 and abs(actual.shift) < 1e-10


def test_least_squares_of_noisy_energies_is_the_normal_equation():
    noise = np.random.default_rng(0).normal(size=5)
    noisy = frames(MANY)
    noisy.energies[:] += noise
    a = MANY[:, list(E0)].astype(float)
    expected = np.linalg.solve(a.T @ a, a.T @ noisy.energies)
    actual = fit_statistics(noisy)
    np.testing.assert_allclose(actual.references[list(E0)], expected, atol=1e-9)
    rest = (noisy.energies - a @ expected) / a.sum(1)
    assert actual.shift == pytest.approx(rest.mean()) and actual.scale == pytest.approx(rest.std())


def test_one_composition_takes_the_smallest_references():
    """All frames of one molecule: only the sum is known, in proportion to the counts then."""
    numbers = counts([6, 2, 1], [6, 2, 1])
    actual = fit_statistics(frames(numbers, [-100.0, -102.0]))
    expected = -101.0 * np.array([6, 2, 1]) / (36 + 4 + 1)
    np.testing.assert_allclose(actual.references[list(E0)], expected, atol=1e-12)
    assert actual.shift == pytest.approx(0, abs=1e-12)
    assert actual.scale == pytest.approx(1 / 9)


def test_given_references():
    named = {"H": E0[1], "C": E0[6], "O": E0[8], "Au": -5.0}
    actual = fit_statistics(frames(MANY, frames(MANY).energies + 0.3 * MANY.sum(1)), named)
    assert actual.shift == pytest.approx(0.3) and actual.scale == 1.0
    assert actual.references[6] == E0[6] and not actual.seen[79]
    assert fit_statistics(frames(MANY), {1: -1.0, 6: -2.0, 8: -3.0}).references[8] == -3.0


def test_isolated_atoms():
    numbers = np.concatenate([MANY, counts([1, 0, 0], [0, 1, 0])])
    actual = fit_statistics(frames(numbers), "isolated", {8: E0[8]})
    assert actual.references[[1, 6, 8]].tolist() == [E0[1], E0[6], E0[8]]
    with pytest.raises(ValueError, match="no reference energy for O: add isolated atoms"):
        fit_statistics(frames(numbers), "isolated")


def test_no_references():
    actual = fit_statistics(frames(counts([2, 0, 0], [1, 0, 0]), [-2.0, -4.0]), "none")
    assert not actual.references.any()
    assert actual.shift == -2.5 and actual.scale == 1.5


def test_missing_labels():
    energies = frames(MANY).energies
    energies[[0, 3]] = np.nan
    actual = fit_statistics(frames(MANY, energies))
    np.testing.assert_allclose(actual.references[list(E0)], list(E0.values()), atol=1e-9)
    nothing = fit_statistics(frames(MANY, np.full(5, np.nan)))
    assert not nothing.references.any() and (nothing.scale, nothing.shift) == (1.0, 0.0)
    assert nothing.seen.sum() == 3


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({"H": 0.0}, "no reference energy for C, O: add it to `references`"),
        ({"H": 0.0, "Xx": 0.0}, "'Xx', which is no element"),
        ({"H": 0.0, "X": 0.0}, "'X', which is no element"),
        ("mean", 'references must be "least_squares"'),
    ],
)
def test_errors(references, message):
    with pytest.raises(ValueError, match=message):
        fit_statistics(frames(MANY), references)


def piece(z, graph, **labels):
    tensors = {"z": torch.tensor(z), "batch": torch.tensor(graph)}
    return SimpleNamespace(**tensors, num_graphs=max(graph) + 1, **labels)


def test_summary_of_batches():
    nan = float("nan")
    forces = torch.tensor([[3.0, 0, 0], [0, 4.0, 0], [nan, nan, nan]])
    first = piece([1, 1, 8], [0, 0, 1], energy=torch.tensor([1.0, nan]), forces=forces)
    second = piece([6], [0], energy=torch.tensor([-1e5 - 1e-9], dtype=torch.float64))
    actual = summarise(iter([first, second]))
    np.testing.assert_array_equal(actual.counts, counts([2, 0, 0], [0, 0, 1], [0, 1, 0]))
    np.testing.assert_array_equal(actual.energies[[0, 2]], [1.0, -1e5 - 1e-9])
    assert np.isnan(actual.energies[1]) and actual.forces_rms == pytest.approx((25 / 6) ** 0.5)
    assert np.isnan(summarise([piece([1, 8], [0, 1])]).forces_rms)
    with pytest.raises(ValueError, match="atom 0 has the atomic number 127"):
        summarise([piece([127, 8], [0, 1])])  # 119 + 8: of oxygen in the next structure
    with pytest.raises(ValueError, match="training set is empty"):
        summarise([])
