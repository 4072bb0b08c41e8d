"""The networks of the log P comparison: of one size, with the features of their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.accuracy.logp import CONFIGS, NETWORKS, settings
from geqlib.data import PenalisedLogPData
from geqlib.data.download import find_file
from geqlib.data.molecules import penalised_logp
from geqlib.data.molecules.penalised_logp import FILES
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("name", CONFIGS)
def test_networks_have_500_000_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    config, _ = settings(name)
    run: Any = read_run(config, {})
    count = sum(p.numel() for p in run.task.model.parameters())
    assert count == pytest.approx(500_000, rel=0.02)
    assert run.data.features is None and run.data.batch_size == 128


def test_counts_of_cycles_join_the_inputs() -> None:
    assert len(NETWORKS) == 2 * len(CONFIGS)
    for name in CONFIGS:
        changes = settings(f"{name}, cycles")[1]
        assert changes["model.model.in_channels"] == 12 + 6
        assert changes["data.features"] == {"nodes": [f"C{k}" for k in range(3, 9)]}


@pytest.mark.slow
def test_degrees_of_pna_are_those_of_the_training_atoms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    if any(find_file(name) is None for name in FILES):
        pytest.skip("the molecules are not below GEQLIB_DATA")
    terms = np.zeros(3)  # targets take minutes, and matter not here
    monkeypatch.setattr(penalised_logp, "penalised_terms", lambda _: terms)
    data = PenalisedLogPData(cache=str(tmp_path))
    data.prepare_data()
    data.setup()
    config: Any = yaml.safe_load((TOP / CONFIGS["PNA"]).read_text())
    network = config["model"]["init_args"]["model"]["init_args"]
    assert network["degrees"] == data.degrees()
