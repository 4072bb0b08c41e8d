"""Runs on two and three processes measure and predict what runs on one do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.train.forked import start_function
from tests.train.potential import write_frames
from tests.train.two_processes import CASES, main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("processes")
    write_frames(folder / "frames.xyz", 20)
    settings = {"GEQLIB_DATA": str(folder), "GLOO_SOCKET_IFNAME": "lo"}
    code, error = start_function(main, (folder,), folder, **settings).finish()
    assert code == 0, error[-3000:]
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_metrics_and_predictions_are_those_of_one_process(results: Any, name: str) -> None:
    """Every graph once and in order: remainders, fewer graphs than processes, several test sets."""
    several, one = results[name]
    # the loss of energies is a mean over batches, and batches are other ones
    metrics = {k: v for k, v in one["metrics"].items() if k != "test/loss"}
    for key, value in metrics.items():
        assert several["metrics"][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert several["predictions"].keys() == one["predictions"].keys()
    for key, values in one["predictions"].items():
        np.testing.assert_allclose(several["predictions"][key], values, rtol=1e-4, atol=1e-5)


def test_validation_while_training(results: Any) -> None:
    """Five validation graphs and seven test graphs in batches of four, on two processes."""
    several, one = results["fit"]["several"], results["fit"]["one"]
    assert {"val/loss", "val/accuracy", "val/test_accuracy"} <= one.keys()
    for key, value in one.items():
        assert several[key] == pytest.approx(value, rel=1e-5), key
