"""Sets of a table: lines in any order, features standardised, files to predict, bad tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geqlib.data import SubsetTableData

LINES = [
    ("b", 3.0, "no", 7),
    ("a", 1.0, "yes", 7),
    ("b", 5.0, "yes", 7),
    ("a", 2.0, "0", 7),
    ("b", 7.0, "1.0", 7),
    ("c", 4.0, "true", 7),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "sets.csv"
    path.write_text("day;size;bought;same\n" + "\n".join(";".join(map(str, x)) for x in LINES))
    return path


def data(path: Path, **options: Any) -> SubsetTableData:
    module = SubsetTableData(path, set="day", chosen="bought", **({"val": 0.0} | options))
    module.setup()
    return module


def test_lines_of_a_set_may_stand_anywhere(table: Path) -> None:
    module = data(table, test=0.0)
    batch: Any = module.splits["train"].__getitems__([0, 1, 2])
    sizes = np.array([3.0, 5.0, 7.0, 1.0, 2.0, 4.0])
    expected = np.stack([(sizes - sizes.mean()) / sizes.std(), np.zeros(6)], 1)
    torch.testing.assert_close(batch.x, torch.tensor(expected, dtype=batch.x.dtype))
    assert batch.y.tolist() == [0, 1, 1, 1, 0, 1]
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 2]
    alone = data(table, test=0.0, features=["size"]).splits["train"]
    assert torch.equal(alone.x[:, 0], module.splits["train"].x[:, 0]) and alone.x.size(1) == 1


def test_features_have_the_scale_of_the_training_sets(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("day,size,same,bought\nz,1000,7,1\n")
    module = data(table, test=str(other))
    sizes = np.array([line[1] for line in LINES])
    assert float(module.splits["test"].x[0, 0]) == pytest.approx(
        (1000 - sizes.mean()) / sizes.std(), rel=1e-6
    )


def test_a_file_to_predict_needs_no_labels(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("day,size,same\nz,1,7\n")
    module = SubsetTableData(table, set="day", chosen="bought", val=0.0, test=str(other))
    module.setup("predict")
    assert "y" not in next(iter(module.test_dataloader()))
    with pytest.raises(ValueError, match="no column 'bought', only day, size, same"):
        module.setup("test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day,size\na,1\n", "no column 'bought', only day, size"),
        ("day,bought\na,1\n", "no columns beside day and bought"),
        ("day,size,bought\na,1\n", "line 2 has 2 cells, but the header has 3"),
        ("day,size,bought\na,big,1\n", "line 2: 'size' is 'big', which is no finite number"),
        ("day,size,bought\na,1,2\n", "line 2: 'bought' is '2': write 1"),
        ("day,size,bought\n", "has no elements"),
        ("", "is empty"),
    ],
)
def test_bad_tables(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        data(path)
