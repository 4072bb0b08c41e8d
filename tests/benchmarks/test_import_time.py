"""Each import of geqlib is compared with the packages that it is built on, e3nn among them."""

from __future__ import annotations

import pytest

from benchmarks.speed.import_time import BASES, STATEMENTS, compared


def test_each_import_adds_to_that_of_its_base() -> None:
    for name, base in BASES.items():
        assert STATEMENTS[name].startswith(f"{STATEMENTS[base]}, geqlib")
        assert {"torch", "e3nn.o3"} <= set(STATEMENTS[base].removeprefix("import ").split(", "))


def test_ratios() -> None:
    seconds = dict.fromkeys(STATEMENTS, 2.0) | {"and geqlib.nn": 2.2}
    ratios = {row.labels[0]: row.cells.get("ratio") for row in compared(seconds).rows}
    assert ratios["and geqlib.nn"] == pytest.approx(1.1)
    assert ratios["and geqlib"] == 1.0 and ratios["torch_geometric.nn, e3nn"] is None
