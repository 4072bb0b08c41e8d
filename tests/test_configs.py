"""Every configuration of the repository trains: two steps each."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from ase import Atoms

from geqlib.cli import main
from geqlib.data.molecules.qm9 import Target
from tests.data.graphs import raw_graphs
from tests.data.molecules import raw_frames, raw_md17, raw_molecules, raw_qm9
from tests.data.points import raw_meshes, raw_superpixels

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
QM9 = CONFIGS[0].parent / "qm9_alpha_ponita.yaml"
TARGETS = [path for path in CONFIGS[0].parent.glob("qm9_*_ponita.yaml") if path != QM9]
PUBLISHED = [path for path in CONFIGS if path.stem.endswith("_published")]
RMD17 = CONFIGS[0].parent / "rmd17_aspirin_ponita_published.yaml"
MOLECULES = {
    "azobenzene": "C12H10N2",
    "benzene": "C6H6",
    "ethanol": "C2H6O",
    "malonaldehyde": "C3H4O2",
    "naphthalene": "C10H8",
    "paracetamol": "C8H9NO2",
    "salicylic": "C7H6O3",
    "toluene": "C7H8",
    "uracil": "C4H4N2O2",
}
ALIKE = [*TARGETS, *(RMD17.with_name(RMD17.name.replace("aspirin", m)) for m in MOLECULES)]
SMALL = {
    "NBodyData": ["train=8", "val=4", "test=4", "input_frame=0", "target_frame=1"],
    "SetData": ["train=64", "val=8", "test=4"],
    "MoleculeData": ["val=2", "num_train=8"],
    "MD17Data": ["stride=40"],
    "QM9Data": ["train=12", "val=3"],
    "PointCloudData": ["train=16", "val=4", "test=4", "points=16"],
    "MultitaskData": ["train=1", "val=1", "test=1", "starts=[15]"],
}


@pytest.mark.parametrize(
    "config", [c for c in CONFIGS if c not in ALIKE], ids=lambda path: path.stem
)
def test_two_steps(config, tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(Path(__file__).parents[1])
    text = config.read_text()
    if "MoleculeNetData" in text or "ZincData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_molecules.write(tmp_path)
    if "MoleculeNetData" in text:
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    if "geqlib.data.MoleculeData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_frames.write_files(yaml.safe_load(text)["data"]["init_args"], tmp_path)
    if "geqlib.data.QM9Data" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_qm9.write_npz(tmp_path)
    if "geqlib.data.MD17Data" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_md17.revised(tmp_path / "md17" / "rmd17_aspirin.npz")
    if "geqlib.data.GraphData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_graphs.write_for(yaml.safe_load(text), tmp_path)
    if "geqlib.data.SuperpixelData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_superpixels.write(tmp_path)
    if "source: GeometricShapes" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_meshes.write_shapes(tmp_path)
    if "source: ABC" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_meshes.write_abc(tmp_path)
    small = next((options for name, options in SMALL.items() if f".{name}\n" in text), [])
    arguments = [f"--data.init_args.{option}" for option in [*small, "batch_size=4"]]
    arguments += [
        f"--trainer.default_root_dir={tmp_path / 'run'}",
        "--trainer.max_epochs=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.enable_progress_bar=false",
    ]
    assert main(["fit", f"--config={config}", *arguments]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_configurations_are_short():
    assert CONFIGS
    for config in CONFIGS:
        assert len(config.read_text().splitlines()) < 40, config.name


def test_published_protocols_name_their_table_and_command():
    assert len(PUBLISHED) >= 20
    for path in PUBLISHED:
        source, command = path.read_text().splitlines()[:2]
        assert " et al., " in source or " and " in source, path.name
        assert "table of" in source and source.endswith(":"), path.name
        config = f"--config configs/{path.name}"
        assert command in (f"# geqlib fit {config}", f"# geqlib cv {config}"), path.name


def test_published_configurations_of_rmd17_differ_in_their_molecule():
    """Energies are weighed by the squared number of atoms over 500."""
    first = RMD17.read_text()
    for name, formula in {"aspirin": "C9H8O4", **MOLECULES}.items():
        weight = len(Atoms(formula)) ** 2 / 500
        full = "salicylic acid" if name == "salicylic" else name
        expected = first.replace("rmd17_aspirin", f"rmd17_{name}")
        expected = expected.replace("revised aspirin", f"revised {full}")
        expected = expected.replace("energy_weight: 0.882", f"energy_weight: {weight:.3f}")
        path = RMD17.with_name(RMD17.name.replace("aspirin", name))
        assert path.read_text() == expected


def test_configurations_of_qm9_differ_in_their_target():
    def target_of(path):
        return yaml.safe_load(path.read_text())["data"]["init_args"]["target"]

    assert {target_of(path) for path in [QM9, *TARGETS]} == set(get_args(Target))
    first = QM9.read_text().split("\n", 1)[1]
    for path in TARGETS:
        expected = first.replace("target: alpha", f"target: {target_of(path)}")
        assert path.read_text().split("\n", 1)[1] == expected
