"""Every configuration of the repository, and every variant, trains: two steps each."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import yaml
from ase import Atoms

from benchmarks.variants import expanded, variants
from geqlib.cli import main
from geqlib.data.molecules.qm9 import Target
from geqlib.train.runs.configuration import ConfigReader, read_run
from tests.data import raw_own
from tests.data.graphs import raw_graphs
from tests.data.molecules import raw_frames, raw_md17, raw_molecules, raw_ogb, raw_qm9
from tests.data.points import raw_meshes, raw_superpixels

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
PUBLISHED = [path for path in CONFIGS if path.stem.endswith("_published")]
FOLDER = CONFIGS[0].parent
MIGRATION = FOLDER.parent / "docs" / "migration.md"
RMD17 = FOLDER / "rmd17_ponita_published.yaml"
MOLECULES = {
    "aspirin": "C9H8O4",
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
# every configuration, and every variant that its comments list; molecules differ in a file name
FITTED = [path for path in CONFIGS if not path.stem.startswith("brec_")]  # tests/train/test_brec.py
RUNS = [(path, None) for path in FITTED] + [
    (path, name) for path in FITTED for name in variants(path) if name not in MOLECULES
]
SMALL = {
    "NBodyData": ["train=8", "val=4", "test=4", "input_frame=0", "target_frame=1"],
    "SubsetData": ["train=8", "val=4", "test=2", "size=20", "chosen=3"],
    "CompoundSubsetData": ["train=8", "val=4", "test=2", "size=3", "chosen=1"],
    "SetData": ["train=64", "val=8", "test=4"],
    "MoleculeData": ["val=2", "num_train=8"],
    "MD17Data": ["stride=40"],
    "QM9Data": ["train=12", "val=3"],
    "QM9Generation": ["train=12", "val=3"],
    "PointCloudData": ["train=16", "val=4", "test=4", "points=16"],
    "GraphGeneration": ["count=10"],
    "MultitaskData": ["train=1", "val=1", "test=1", "starts=[15]"],
}
PARD = {"channels": 8, "pair_channels": 4, "layers": 1, "heads": 2}
ESCAIP = {"channels": 16, "layers": 1, "gaussians": 8, "radial": 8, "bond_features": 4}
# at their own widths and depths, two steps on a CPU take up to minutes
THIN = {
    "community_pard": PARD,
    "grid_pard": PARD,
    "normals_fa_local_published": {"channels": 16},
    "planar_pard": PARD,
    "qm9_pard": PARD,
    "spice_escaip_published": ESCAIP,
    "tu_spen_published": {"channels": 4, "layers": 1},
}
PARAMETERS = {
    ("community_pard", "ego_small"): 1_702_530,
    ("community_pard", None): 1_700_731,
    ("grid_pard", None): 9_986_388,
    ("normals_fa_local_published", None): 6_224_017,
    ("planar_pard", None): 9_386_038,
    ("qm9_pard", None): 8_735_128,
    ("spice_escaip_published", None): 62_860_800,
    ("tu_spen_published", "IMDB-BINARY"): 17_784_226,
    ("tu_spen_published", "IMDB-MULTI"): 1_684_467,
    ("tu_spen_published", "NCI1"): 80_706,
    ("tu_spen_published", "NCI109"): 3_240_130,
    ("tu_spen_published", "PROTEINS"): 1_228_802,
    ("tu_spen_published", "PTC"): 80_450,
    ("tu_spen_published", None): 1_312_898,
}


def on_small_data(config, changes, tmp_path, monkeypatch):
    """Write small raw data of a configuration, and return the options that go with it."""
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    text = config.read_text()
    if "MoleculeNetData" in text or "ZincData" in text or "PenalisedLogPData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_molecules.write(tmp_path)
    if "PenalisedLogPData" in text:
        lipo = "MoleculeNet/lipo/raw/Lipophilicity.csv"  # some molecules, and no others
        changes = [*changes, f"--data.files=[{lipo}]"]
    if "MoleculeNetData" in text or "PenalisedLogPData" in text:
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    if "CompoundSubsetData" in text:
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_molecules.write_compounds(tmp_path)
    if "geqlib.data.MoleculeData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_frames.write_files(settings(config, changes)["data"]["init_args"], tmp_path)
    if "geqlib.data.LevelsData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        for level in settings(config, changes)["data"]["init_args"]["levels"].values():
            raw_frames.write_files(level, tmp_path)
    if "geqlib.data.QM9" in text or "name: qm9" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_qm9.write_npz(tmp_path)
    if "geqlib.data.MD17Data" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_md17.revised(tmp_path / "md17" / "rmd17_aspirin.npz")
    if "geqlib.data.GraphData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_graphs.write_for(settings(config, changes), tmp_path)
    if "geqlib.data.GraphGeneration" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_graphs.write_generated_for(settings(config, changes), tmp_path)
    if "geqlib.data.SuperpixelData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_superpixels.write(tmp_path)
    if config.stem.startswith("own_"):
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_own.write(tmp_path)
    if "OgbMoleculeData" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        initial = settings(config, changes)
        name = initial["data"]["init_args"]["name"].replace("-", "_")
        raw_ogb.write(tmp_path, name, initial["model"]["init_args"]["num_targets"])
    if "source: ModelNet40" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_meshes.write_modelnet40(tmp_path)
    if "torch_geometric.datasets.ZINC" in text:
        changes = [*changes, f"--data.arguments.root={tmp_path / 'ZINC'}"]
    if ".hdf5" in text:
        pytest.importorskip("h5py", reason="HDF5 is read by h5py, which is optional")
    if "MoleculeTableData" in text:
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    if "source: GeometricShapes" in text or "--data.source=GeometricShapes" in changes:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_meshes.write_shapes(tmp_path)
    if "source: ABC" in text:
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_meshes.write_abc(tmp_path)
    small = next((options for name, options in SMALL.items() if f".{name}\n" in text), [])
    if "MoleculeDiffusion" in text:
        changes = [*changes, "--model.samples=2", "--model.steps=2", "--model.sample_every=1"]
    sizes = THIN.get(config.stem, {})
    changes = [*changes, *(f"--model.model.{key}={size}" for key, size in sizes.items())]
    return [*changes, *(f"--data.{option}" for option in small)]


# the small stand-ins of data sets repeat graphs
@pytest.mark.filterwarnings("ignore:.*of the training in all features")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "variant"), RUNS, ids=lambda value: value.stem if isinstance(value, Path) else value
)
def test_two_steps(config, variant, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    changes = [] if variant is None else variants(config)[variant]
    arguments = [*on_small_data(config, changes, tmp_path, monkeypatch), "--data.batch_size=4"]
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "variant"),
    [(FOLDER / f"{name}.yaml", variant) for name, variant in PARAMETERS],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_networks_of_their_own_size(config, variant):
    """Those that `test_two_steps` makes smaller are built as they are described, too."""
    network = read_run(config, [] if variant is None else variants(config)[variant]).task.model
    count = sum(weight.numel() for weight in network.parameters())
    assert count == PARAMETERS[config.stem, variant]


def test_every_small_network_is_counted():
    expected = {(path.stem, variant) for path, variant in RUNS if path.stem in THIN}
    assert expected == PARAMETERS.keys()


def settings(config, changes):
    """The settings of a configuration with changes to it."""
    arguments = [f"--config={config}", *changes]
    parser = ConfigReader(arguments).parser
    return yaml.safe_load(parser.dump(parser.parse_args(arguments)))


def test_configurations_are_short():
    assert CONFIGS
    for config in CONFIGS:
        lines = config.read_text().splitlines()
        assert len([line for line in lines if not line.startswith("#")]) < 40, config.name


def test_comments_name_the_command():
    for config in CONFIGS:
        text = config.read_text()
        commands = [f"# geqlib {verb} --config configs/{config.name}" for verb in ("fit", "cv")]
        listed = variants(config) or "Other" in text or config in PUBLISHED
        assert not listed or any(command in text for command in commands), config.name
        indented = [line for line in text.splitlines() if line.startswith("#   ")]
        arguments = sum(line.count("--") for line in indented)
        assert arguments == sum(map(len, variants(config).values())), config.name


def test_published_protocols_name_their_table_and_command():
    assert len(PUBLISHED) >= 13
    for path in PUBLISHED:
        source, command = path.read_text().splitlines()[:2]
        assert " et al., " in source or " and " in source, path.name
        assert "table of" in source and source.endswith(":"), path.name
        config = f"--config configs/{path.name}"
        assert command in (f"# geqlib fit {config}", f"# geqlib cv {config}"), path.name


def test_published_protocols_say_what_differs_from_the_paper():
    for path in PUBLISHED:
        head = path.read_text().partition("seed_everything")[0]
        assert "Theirs" in head, f"{path.name} says nothing of differences"
    superpixels = yaml.safe_load((FOLDER / "superpixels_ponita_published.yaml").read_text())
    assert superpixels["monitor"] == "val/accuracy" and superpixels["monitor_mode"] == "max"
    assert superpixels["model"]["init_args"]["model"]["init_args"]["readouts"] == "last"


def test_published_variants_of_rmd17_are_molecules():
    """Energies are weighed by the squared number of atoms over 500."""
    listed = {"aspirin": ["--data.name=revised aspirin", "--model.energy_weight=0.882"]}
    listed |= {name: v for name, v in variants(RMD17).items() if name in MOLECULES}
    assert listed.keys() == MOLECULES.keys()
    for name, formula in MOLECULES.items():
        full = "salicylic acid" if name == "salicylic" else name
        weight = len(Atoms(formula)) ** 2 / 500
        expected = [f"--data.name=revised {full}", f"--model.energy_weight={weight:.3f}"]
        assert listed[name] == expected
    changed = settings(RMD17, listed["salicylic"])
    assert changed["data"]["init_args"]["name"] == "revised salicylic acid"
    assert changed["model"]["init_args"]["energy_weight"] == 0.512


def test_targets_of_qm9():
    config = FOLDER / "qm9_ponita.yaml"
    comments = config.read_text().split("seed_everything")[0]
    assert all(re.search(rf"\b{target}\b", comments) for target in get_args(Target))
    changed = settings(config, ["--data.target=U0"])
    assert changed["data"]["init_args"]["target"] == "U0"


def test_every_old_file_has_a_command():
    """The table of the migration page names files that exist and variants that these list."""
    rows = re.findall(r"^\| `(\S+\.yaml)` \| `(.*)` \|$", MIGRATION.read_text(), re.M)
    assert len(rows) == 45
    table = (FOLDER / "first_edition.txt").read_text().splitlines()[2:]
    assert table == [f"{old}: {command.removeprefix('configs/')}" for old, command in rows]
    for old, command in rows:
        assert not (FOLDER / old).exists(), old
        file, *changes = shlex.split(re.sub(r" --out \S+", "", command))
        changes = [expanded(word) for word in changes]
        listed = list(variants(FOLDER.parent / file).values())
        target = re.fullmatch(r"--data\.target=(\w+)", "".join(changes))
        assert changes in [[], *listed] if target is None else target[1] in get_args(Target), old
