"""Rows of trained networks on BREC, and the exact features that bound them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy.brec import MODELS, SEEDS, causes, exact, of_protocol, summed
from benchmarks.accuracy.brec_exact import PARTS
from benchmarks.rows import Value
from geqlib.motifs import brec
from geqlib.train.brec import BRECSetup, Measurement, totals

TOP = Path(__file__).parents[2]


def test_configurations() -> None:
    """PPGN++ without polynomials and counts, and with both, by the published recipe; each
    configuration names the exact features of its row."""
    setups = [BRECSetup(TOP / config, changes) for config, changes, _ in MODELS.values()]
    assert [setup.transform is None for setup in setups] == [True, False, False]
    assert [setup.recipe for setup in setups[:2]] == [brec.BRECRecipe()] * 2
    assert [setup.config.model.init_args.degree for setup in setups[:2]] == [4, 5]
    assert [setup.exact for setup in setups[1:]] == [row for _, _, row in MODELS.values()][1:]


def test_seeds_are_those_of_the_protocol() -> None:
    assert SEEDS == brec.SEEDS


def test_fewer_seeds_are_the_first_of_the_protocol() -> None:
    assert of_protocol([100]) and of_protocol(SEEDS)
    assert not any(of_protocol(seeds) for seeds in ([], [200], [100, 300]))


def test_exact_rows_are_those_of_their_benchmark() -> None:
    rows = [exact(bound) for _, _, bound in MODELS.values()]
    assert [row.number("pairs") for row in rows] == [270, 340, 257]
    assert all(sum(row.number(part) for part in PARTS) == row.number("pairs") for row in rows)


def test_pairs_that_are_not_separated_have_a_cause() -> None:
    separated = {0: False, 1: True, 2: False, 3: False, 399: True}
    exact = {0: True, 1: True, 2: True, 3: False, 399: False}
    lists = causes(separated, exact)
    assert lists["training"]["basic"] == "0, 2" and lists["features"]["basic"] == "3"
    assert lists["beyond"] == dict.fromkeys(PARTS, "none") | {"distance regular": "399"}


def measurement(statistic: float, reliability: float = 1.0) -> Measurement:
    return Measurement(brec.Comparison(statistic, reliability, 0.1, 20, 0.0), 3.0, 5.0, "cpu")


def test_rows_are_of_the_best_seed() -> None:
    one = totals({0: measurement(1e3), 399: measurement(1e3, 1e2)}, PARTS)
    two = totals({0: measurement(1e3), 399: measurement(1e3)}, PARTS)
    cells = summed({100: one})  # of which the second is not reliable
    assert [cells[key] for key in ("basic", "distance regular", "pairs")] == [1, 0, 1]
    cells = summed({100: one, 200: two})
    assert cells["basic"] == cells["distance regular"] == 1 and cells["pairs"] == 2
    assert cells["unreliable"] == 1 and cells["seconds"] == 3.0 and cells["mebibytes"] == 5.0
    mean = cells["mean"]
    assert isinstance(mean, Value) and mean.seeds == (1.0, 2.0)
