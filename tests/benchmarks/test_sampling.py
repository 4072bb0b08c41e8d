"""Sampling errors of test sets."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from benchmarks import sampling
from benchmarks.rows import Column, Row, Value, _cell, _plain
from benchmarks.sampling import bootstrap, interval, paired
from benchmarks.tables import text


def test_the_interval_is_that_of_the_normal_distribution_for_many_samples():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    low, high = interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_seeds_and_samples_are_apart():
    hard = np.random.default_rng(0).exponential(size=500)
    value = bootstrap([(hard + shift).tolist() for shift in (0.0, 0.2)])
    assert value.deviation == pytest.approx(0.2 / np.sqrt(2))
    assert value.interval is not None and value.interval[0] < value.mean < value.interval[1]
    assert bootstrap([hard.tolist()]).deviation is None


def test_what_is_hard_for_both_cancels_in_differences():
    hard = np.random.default_rng(0).exponential(size=500)
    difference = paired([hard.tolist()] * 3, [(hard + 0.01).tolist()])
    assert difference.mean == pytest.approx(0.01)
    assert difference.interval == pytest.approx((0.01, 0.01))


def test_values_with_intervals_are_written_and_shown():
    value = Value(0.004, 0.0002, (0.0038, 0.0042), (0.003, 0.005))
    assert _cell(_plain(value)) == value
    row, column = Row(("a",), {"x": value, "d": Value(-0.5, interval=(-0.6, -0.4))}), "error"
    assert text(row, Column("x", "x", "", column)) == "0.00400 ± 0.00020 [0.0030, 0.0050]"
    assert text(row, Column("d", "d", "%", ".1f", 100)) == "-50.0 [-60.0, -40.0]"


def test_examples():
    assert doctest.testmod(sampling).failed == 0
