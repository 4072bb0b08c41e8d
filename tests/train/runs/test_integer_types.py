"""One batch is not all of them, in whatever order a process has imported its libraries."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Union

import lightning as L
import pytest

from geqlib.train.runs.configuration import read_run

CONFIG = Path(__file__).parents[3] / "configs" / "nbody_fagnn.yaml"


@pytest.fixture
def floats_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The types that Lightning has where a library was imported before that says it this way."""
    annotations = inspect.unwrap(L.Trainer.__init__).__annotations__
    for name in ("limit_train_batches", "limit_test_batches"):
        monkeypatch.setitem(annotations, name, Union[float, int, None])  # noqa: UP007


@pytest.mark.parametrize("as_words", [True, False])
def test_one_is_one_batch_and_one_point_nought_all(floats_first: None, as_words: bool) -> None:
    values: dict[str, Any] = {"trainer.limit_train_batches": 1, "trainer.limit_test_batches": 1.0}
    changes = [f"--{key}={value}" for key, value in values.items()] if as_words else values
    trainer = read_run(CONFIG, changes).trainer
    assert isinstance(trainer["limit_train_batches"], int)
    assert isinstance(trainer["limit_test_batches"], float)
