"""Published protocols: every run can be read, rows stand beside published ones, a trial runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import rows, training
from benchmarks.accuracy import protocols
from benchmarks.rows import Row, Table
from geqlib.train.run import fit
from geqlib.train.run import test as measure
from geqlib.train.runs.configuration import read_run
from tests.data.molecules import raw_md17

TOP = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)


def test_all_molecules_and_targets_by_one_configuration() -> None:
    """What changes is the data and the weight that follows from the number of atoms."""
    atoms = dict(aspirin=21, azobenzene=24, benzene=12, ethanol=9, malonaldehyde=9)
    atoms |= dict(naphthalene=18, paracetamol=20, salicylic=16, toluene=15, uracil=12)
    molecules = protocols.PROTOCOLS["rmd17"]
    assert list(molecules.runs) == list(atoms) and len(atoms) == 10
    own = yaml.safe_load(molecules.config.read_text())
    for name, changes in molecules.runs.items():
        molecule = changes.get("data.name", own["data"]["init_args"]["name"])
        weight: Any = changes.get("model.energy_weight", own["model"]["init_args"]["energy_weight"])
        assert f"revised {name}" in str(molecule)
        assert weight == pytest.approx(atoms[name] ** 2 / 500, rel=1e-3)
    run: Any = read_run(molecules.config, molecules.runs["uracil"])
    assert run.data.molecule == "revised uracil" and run.task.weights["energy"] == 0.288
    targets = protocols.PROTOCOLS["qm9"]
    named = [changes["data.init_args.target"] for changes in targets.runs.values()]
    assert named == list(protocols.TARGETS) and len(named) == 12


def test_runs_by_name() -> None:
    targets = protocols.PROTOCOLS["qm9"]
    assert protocols.chosen(targets, ["mu", "Cv"]) == ["mu, D", "Cv, cal/(mol K)"]
    assert len(protocols.chosen(protocols.PROTOCOLS["rmd17"], None)) == 10
    with pytest.raises(ValueError, match="--only water is none of aspirin, azobenzene"):
        protocols.chosen(protocols.PROTOCOLS["rmd17"], ["water"])


def test_rows_are_written_one_by_one_beside_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[Table, ...]] = []

    def publish(result: Any) -> None:
        written.append(result.tables)
        path = tmp_path / f"{result.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows.to_json(result))

    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    monkeypatch.setattr(protocols, "publish", publish)
    mae = {"test/mae": 0.1}
    protocols.write_row("qm9", Row(("mu, D", "geqlib PONITA"), mae))
    cells = {"test/energy_rmse": 3.0, "test/forces_rmse": 9.0}
    for trained, tested in (("300 K", "dihedral"), ("mixed", "300 K"), ("300 K", "300 K")):
        protocols.write_row("3bpa", Row((trained, tested, "geqlib GauntNet"), cells))
    protocols.write_row("qm9", Row(("mu, D", "geqlib PONITA"), {"test/mae": 0.2}))
    of_3bpa, of_rmd17, of_qm9 = written[-1]
    assert len(of_3bpa.rows) == 15 + 3 and len(of_rmd17.rows) == 30 and len(of_qm9.rows) == 24 + 1
    assert of_qm9.row("mu, D", "geqlib PONITA").number("test/mae") == 0.2
    assert of_qm9.row("G, meV", "PONITA").number("test/mae") == 8.63
    assert [row.labels[:2] for row in of_3bpa.rows[:5]] == [("300 K", "300 K")] * 5
    assert of_3bpa.rows[-1].labels == ("mixed", "300 K", "geqlib GauntNet")
    assert of_3bpa.row("300 K", "1200 K", "MACE").number("test/forces_rmse") == 62.0
    uracil = of_rmd17.row("uracil", "NequIP")
    assert (uracil.number("test/energy_mae"), uracil.number("test/forces_mae")) == (0.4, 3.1)


@pytest.mark.slow
def test_a_trial_of_what_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One molecule has a file, another has none; nothing is written, and nothing trained twice."""
    config = yaml.safe_load(protocols.RMD17.read_text())
    small = {"channels": 4, "basis": 4, "layers": 1, "orientations": 4}
    config["model"]["init_args"]["model"]["init_args"] |= small
    config["trainer"] |= {"accelerator": "cpu"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    raw_md17.revised(tmp_path / "md17" / "rmd17_uracil.npz")
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    for module in (training, protocols):
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    tiny = protocols.replace(
        protocols.PROTOCOLS["rmd17"], config=tmp_path / "tiny.yaml", published={}
    )
    monkeypatch.setitem(protocols.PROTOCOLS, "rmd17", tiny)
    monkeypatch.setattr(protocols, "write_row", lambda *_: pytest.fail("written"))

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
    words = ["protocols.py", "rmd17", "--trial", "--only", "toluene", "uracil"]
    monkeypatch.setattr(sys, "argv", words)
    protocols.main()
    said = capsys.readouterr().out
    assert "rmd17, toluene is left out: rmd17_toluene.npz is not below md17" in said
    assert "('uracil', 'geqlib PONITA') runs" in said
    assert (tmp_path / "runs" / "protocols-trial" / "rmd17-uracil-seed0" / "fit.json").exists()
    monkeypatch.setattr(training, "_geqlib", lambda *_: pytest.fail("trained again"))
    protocols.main()
