"""The comparison of potentials: its configurations, its rows one by one, and a tiny run of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import molecule

from benchmarks import rows, training
from benchmarks.accuracy import dynamics, potential_3bpa, potentials
from benchmarks.peers import mace
from benchmarks.peers.mace_calculator import TrainedMACE
from benchmarks.rows import Row, Table
from geqlib.train.run import fit
from geqlib.train.run import test as measure
from geqlib.train.runs.configuration import read_run
from tests.train.potential import write_frames

TOP = Path(__file__).parents[2]
NETWORK = "model.init_args.model.init_args"


def test_configurations_differ_in_the_data_and_the_elements_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(TOP)
    for model in potentials.MODELS:
        for name, data in potentials.SETS.items():
            config, changes = potentials.configuration(name, model)
            own = yaml.safe_load(config.read_text())["model"]["init_args"]
            network = own["model"]["init_args"]
            if model == "escaip_direct":
                assert own["model"]["class_path"] == "geqlib.models.DirectPotential"
                assert own["rotate"] and network["model"]["init_args"]["direct_forces"]
                network = network["model"]["init_args"]
            assert network["cutoff"] == potentials.CUTOFF and "stress_weight" not in own
            assert ("elements" in network) == (f"{NETWORK}.elements" in changes)
            references = changes.pop("model.init_args.references")
            assert references == ("isolated" if data.isolated else "least_squares")
            assert changes.keys() <= {"data", f"{NETWORK}.elements"}
    run: Any = read_run(*potentials.configuration("silicon", "gaunt"))
    assert run.data.cutoff == potentials.CUTOFF and run.data.batch_size == potentials.BATCH
    assert run.data.labels.stress is None and len(run.task.model.model.elements) == 1
    assert run.data.reference_file is None and run.data.sources["val"] == 0.1


def test_rows_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command leaves those that are done, in the order of the data."""
    written: list[Table] = []

    def publish(result: Any, *_: Any) -> None:
        written.append(result.tables[0])
        path = tmp_path / f"{result.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows.to_json(result))

    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    for module in (potentials, potential_3bpa):
        monkeypatch.setattr(module, "publish", publish)
    cells = {"forces": 20.0, "energy": 1.0, "step": 0.1, "drift": 0.1, "trust": "9 passed"}
    names = [
        ("aspirin", "20", "geqlib PONITA"),
        ("3BPA, 300 K", "2", "geqlib GauntNet"),
        ("aspirin", "2", "geqlib PONITA"),  # a row of its own
    ]
    for labels in names:
        potentials.write_row(Row(labels, cells))
    assert [len(table.rows) for table in written] == [1, 2, 3]
    assert [row.labels for row in written[-1].rows] == [names[1], names[2], names[0]]
    potentials.write_row(Row(names[0], cells | {"forces": 19.0}))
    assert len(written[-1].rows) == 3 and written[-1].row(*names[0]).number("forces") == 19.0

    errors = dict.fromkeys((column.key for column in potential_3bpa.COLUMNS), 20.0)
    curve = ((1.0, 50.0), (2.0, 30.0))
    for name in ("geqlib GauntNet", "MACE"):
        row = potential_3bpa.own_row(name, errors | {"minutes": 20.0}, curve)
        potential_3bpa.write_row(row)
    published = len(potential_3bpa.PUBLISHED)
    assert [len(table.rows) for table in written[4:]] == [1 + published, 2 + published]


@pytest.mark.slow
def test_a_tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, some steps of a tiny network; the second time nothing is trained."""
    config = yaml.safe_load((TOP / "configs" / "3bpa_gaunt.yaml").read_text())
    small = {"elements": ["H", "C", "O"], "channels": 2, "degree": 1, "order": 2, "layers": 1}
    config["model"]["init_args"]["model"]["init_args"] = small | {"cutoff": 3.0}
    config["trainer"] |= {"accelerator": "cpu"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    for name in ("train", "test"):
        write_frames(tmp_path / f"{name}.xyz", 10)
    keys = {"energy_key": "E", "forces_key": "F"}
    files = {"train": str(tmp_path / "train.xyz"), "val": 2, "test": str(tmp_path / "test.xyz")}
    data = potentials.DataSet("tiny", ("H", "C", "O"), files | keys)
    monkeypatch.setenv("GEQLIB_RUNS", str(tmp_path))
    monkeypatch.setattr(potentials, "SETS", {"tiny": data})
    monkeypatch.setattr(potentials, "CUTOFF", 3.0)
    monkeypatch.setattr(potentials, "STEPS", 20)
    monkeypatch.setattr(potentials, "check_potential", lambda *_: [])
    whole = potentials.configuration

    def tiny(name: str, model: str) -> tuple[Path, dict[str, object]]:
        return tmp_path / "tiny.yaml", whole(name, model)[1]

    monkeypatch.setattr(potentials, "configuration", tiny)
    for module in (training, potentials):
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")

    def run_here(*arguments: str) -> None:
        named = dict(word.removeprefix("--").partition("=")[::2] for word in arguments[1:])
        path, checkpoint = named.pop("config"), named.pop("ckpt_path", None)
        overwrite = named.pop("overwrite", None) is not None
        if arguments[0] == "fit":
            fit(path, named, ckpt_path=checkpoint, overwrite=overwrite)
        else:
            assert checkpoint is not None
            measure(path, checkpoint, named)

    monkeypatch.setattr(training, "_geqlib", run_here)
    row = potentials.measure("tiny", "gaunt", [0, 1], 1e-3)
    assert row.labels == ("tiny", "0.001", "geqlib GauntNet") and row.setup.startswith(
        "2 seeds, 0.001 CPU"
    )
    assert row.number("forces") > 0 and len(row.value("forces").seeds) == 2
    assert row.number("drift") >= 0 and row.cells["trust"] == "0 passed"
    monkeypatch.setattr(training, "_geqlib", lambda *_: pytest.fail("trained again"))
    assert potentials.measure("tiny", "gaunt", [0, 1], 1e-3) == row

    def explode(*_: Any) -> float:
        raise ValueError("atoms fly apart")

    monkeypatch.setattr(potentials, "drift", explode)
    used = potentials.in_use("tiny", tmp_path / "runs/potentials/tiny-gaunt-0.001min-seed0")
    assert used["drift"] is None


def test_dynamics_are_of_the_model_that_3bpa_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(potential_3bpa, "_epochs", lambda key, measure: 1)
    monkeypatch.setattr(potential_3bpa, "trained", lambda folder, *rest: {})
    for module in (potential_3bpa, dynamics):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    for run in dynamics.MODELS:
        folder, _ = potential_3bpa.trained_on_frames(run)
        assert dynamics.trained_model(run).parents[1] == folder
        with pytest.raises(SystemExit, match=rf"potential_3bpa\.py {run} trains it\.$"):
            dynamics.measure(run, [])


def test_mace_has_the_seeds_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "all.xyz", 10)
    files = {"train": str(tmp_path / "all.xyz"), "val": 0.2, "test": 0.2}
    data = potentials.DataSet("tiny", ("H",), files | {"energy_key": "E", "forces_key": "F"})
    monkeypatch.setattr(potentials, "SETS", {"tiny": data})
    monkeypatch.setattr(potentials, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(potentials, "kept_seconds", lambda *_: 6.0)
    asked = []

    def best(folder: Path, splits: Any, energies: Any, epochs: int, seed: int) -> dict[str, Any]:
        asked.append((folder.name, epochs, seed))
        return {"test": {"Default": [8.0 * seed, 20.0 + seed]}, "decay": 0.1}

    def answer(model: Path, task: str) -> dict[str, float]:
        assert model.parts[-2:] == ("decay-0.1", "mace.model")
        return {"energy": float(model.parts[-3][-1]), "mebibytes": 7.0}

    monkeypatch.setattr(potentials.mace, "best_of_decays", best)
    monkeypatch.setattr(potentials, "mace_answer", answer)
    monkeypatch.setattr(potentials, "mace_in_use", lambda *_: {"drift": 0.5, "trust": "8 passed"})
    monkeypatch.setattr(training, "RUNS", tmp_path / "runs")
    row = potentials.measure("tiny", "mace", [0, 2], 1.0)
    assert asked == [("tiny-mace-1min-seed0", 10, 1), ("tiny-mace-1min-seed2", 10, 3)]
    assert row.origin == "peer" and row.setup.startswith("2 seeds, 1 CPU minutes")
    assert row.value("forces").seeds == (21.0, 23.0) and row.value("energy").seeds == (0.0, 2.0)
    assert {column.key for column in potentials.COLUMNS} <= row.cells.keys()
    assert row.cells["trust"] == "8 passed" and row.number("memory") == 7.0
    command = mace._command(tmp_path / "run", {"train": [], "val": [], "test": []}, {}, 1, 1.0, 7)
    assert "--seed=7" in command


# what stands in for Python with MACE: the energy of springs to the origin
ANSWERS = """#!{python}
import json, sys
print("a message of a library")
for line in sys.stdin:
    task, value = json.loads(line)
    reply = {{"error": "no such thing"}}
    if task == "structure":
        pos = value["positions"]
        energy = 0.5 * sum(x * x for p in pos for x in p)
        reply = {{"energy": energy, "forces": [[-x for x in p] for p in pos], "stress": None}}
    print("answer " + json.dumps(reply), flush=True)
    if task == "end":
        break
"""


def test_a_peer_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text(ANSWERS.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(mace, "BIN", tmp_path)
    water = molecule("H2O")
    with TrainedMACE(tmp_path / "mace.model", "float64") as peer:
        water.calc = peer
        assert water.get_potential_energy() == pytest.approx(0.5 * (water.positions**2).sum())
        np.testing.assert_array_equal(water.get_forces(), -water.positions)
        monkeypatch.setattr(potentials, "STEPS", 100)
        assert abs(potentials.drift(water, peer)) < 5  # hundreds with other forces
        with pytest.raises(ValueError, match="MACE cannot compute end: no such thing"):
            peer.ask("end", None)
        with pytest.raises(ValueError, match="The process of MACE ended at errors"):
            peer.process.wait()
            peer.ask("errors", "test.xyz")
    assert peer.process.returncode == 0
