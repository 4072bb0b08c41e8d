"""`geqlib new`: configurations that train, and what is said about them."""

from __future__ import annotations

import gzip
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import get_args

import networkx as nx
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from geqlib.cli.new import KINDS
from geqlib.proposals import Kind, propose
from geqlib.proposals.molecules import look
from geqlib.proposals.pace import Pace
from geqlib.proposals.potential import choose_cutoff
from geqlib.train.run import read_run
from tests.cli.test_main import refused
from tests.cli.test_use import TETRAHEDRON, metals
from tests.train import tiny

FEW = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(path: str) -> dict:
    return yaml.safe_load(Path(path).read_text())


def shapes(classes: tuple[str, ...] = ("low", "high"), splits: tuple = ("train", "test")) -> None:
    for name in classes:
        for split in splits:
            Path("shapes", name, split).mkdir(parents=True)
            Path("shapes", name, split, "a.off").write_text(TETRAHEDRON.format(len(name)))


def labelled(atoms: Atoms, **keys: object) -> Atoms:
    """Without a calculator, with numbers under keys of one's own."""
    atoms = atoms.copy()
    for key, value in keys.items():
        (atoms.arrays if np.shape(value) == (len(atoms), 3) else atoms.info)[key] = value
    return atoms


def test_kinds_are_those_of_the_proposals():
    templates = {path.name for path in (files("geqlib.proposals") / "templates").iterdir()}
    assert set(KINDS) == set(get_args(Kind))
    assert {f"{kind}.yaml" for kind in KINDS} <= templates


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_file(kind, capsys):
    assert tiny.geqlib(["new", kind]) == 0
    out = capsys.readouterr().out
    path = f"my_{kind}.yaml"
    last = "predict runs" if kind in ("potential", "points") else f"cv --config {path}"
    assert f"wrote {path}" in out and f"\n  geqlib fit --config {path}\n" in out
    assert out.count("\n  geqlib ") == 3 and f"\n  geqlib {last}" in out
    assert f"geqlib fit --config {path}" in Path(path).read_text()
    run = read_run(path)  # every class and option exists
    assert str(run.folder) == f"runs/my_{kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_never_overwritten(kind, capsys):
    Path(f"my_{kind}.yaml").write_text("mine")
    assert "exists: remove it, or name another file (--out)" in refused(["new", kind], capsys)
    assert Path(f"my_{kind}.yaml").read_text() == "mine"
    assert tiny.geqlib(["new", kind, "--out", "other.yaml"]) == 0
    assert "geqlib fit --config other.yaml" in Path("other.yaml").read_text()


@pytest.mark.slow
def test_a_potential_from_a_file_trains(capsys):
    write("metal.xyz", metals(10))
    assert tiny.geqlib(["new", "potential", "metal.xyz", "--minutes", "0.00001"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for said in (
        "10 structures of 1 atoms on average, 10 periodic; elements Cu, Au",
        "energy from the key 'energy', forces from the key 'forces', stress from the key 'stress'",
        "angstrom: an atom has ",
        "max_epochs 1: ",
        "\n  geqlib fit --config metal.yaml\n  geqlib test runs/metal\n",
    ):
        assert said in captured.out
    model = settings("metal.yaml")["model"]["init_args"]
    assert model["model"]["init_args"]["elements"] == ["Cu", "Au"]
    assert model["stress_weight"] > 0
    assert tiny.geqlib(["fit", "--config", "metal.yaml", *FEW]) == 0
    assert tiny.geqlib(["test", "runs/metal"]) == 0
    assert Path("runs/metal/results.json").exists()


def test_a_file_that_is_cut_off_is_named(capsys):
    write("metal.xyz", metals(10))
    Path("cut.xyz").write_text("\n".join(Path("metal.xyz").read_text().splitlines()[:-1]))
    assert "cut.xyz, frame 9: it is cut off after 0 of 1" in refused(
        ["new", "potential", "cut.xyz"], capsys
    )


@pytest.mark.slow
def test_a_budget_is_turned_into_epochs(capsys):
    write("metal.xyz", metals(10))
    assert tiny.geqlib(["new", "potential", "metal.xyz", "--minutes", "1"]) == 0
    actual = re.search(r"max_epochs (\d+): (\S+) minutes?\b", capsys.readouterr().out)
    assert actual and int(actual[1]) == settings("metal.yaml")["trainer"]["max_epochs"] > 1
    assert 0.5 < float(actual[2]) <= 1


def test_classes_of_clouds_train(capsys):
    shapes()
    assert tiny.geqlib(["new", "points", "shapes", "--minutes", "0.01"]) == 0
    assert "2 classes (high, low); 2 meshes to train on and 2 to test on" in capsys.readouterr().out
    data = settings("shapes.yaml")["data"]["init_args"]
    assert data["source"] == "shapes" and data["train"] == 32
    assert tiny.geqlib(["fit", "--config", "shapes.yaml", "--data.points=8", *FEW]) == 0
    assert tiny.geqlib(["predict", "runs/shapes", "shapes/high/test/a.off"]) == 0
    assert "p(high),p(low)" in Path("a_predictions.csv").read_text()


SMILES = [f"{'C' * a}{x}{'C' * b}" for a in range(1, 4) for b in range(1, 4) for x in "ON"]


def table(path: str, columns: dict[str, list[object]]) -> None:
    lines = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    Path(path).write_text("\n".join(lines) + "\n")


def test_numbers_of_molecules_train(capsys):
    pytest.importorskip("rdkit")
    table("own.csv", {"id": list(range(18)), "SMILES": SMILES, "logp": [*map(len, SMILES)]})
    assert tiny.geqlib(["new", "molecules", "own.csv", "--minutes", "0.001"]) == 0
    out = capsys.readouterr().out
    assert "18 molecules, SMILES in the column 'SMILES'" in out
    assert "targets logp: numbers; MaskedRegressionTask" in out
    assert settings("own.yaml")["data"]["init_args"]["targets"] == ["logp"]
    assert tiny.geqlib(["fit", "--config", "own.yaml", *FEW]) == 0
    assert tiny.geqlib(["predict", "runs/own", "own.csv"]) == 0
    assert Path("own_predictions.csv").read_text().startswith("graph,predicted,true\n")


def test_molecules_that_cannot_be_read_are_skipped(capsys):
    """As `on_bad_molecule: skip` of the data does, which the configuration has."""
    pytest.importorskip("rdkit")
    smiles = [*SMILES[:4], "C1CC", *SMILES[4:]]
    table("own.csv", {"smiles": smiles, "logp": [*map(len, smiles)]})
    assert tiny.geqlib(["new", "molecules", "own.csv", "--minutes", "0.001"]) == 0
    captured = capsys.readouterr()
    said = "1 molecule left out; the first was own.csv, row 5 after the header: rdkit cannot read"
    assert f"{said} the SMILES 'C1CC'" in captured.out and "own.csv" not in captured.err
    assert settings("own.yaml")["data"]["init_args"]["on_bad_molecule"] == "skip"
    assert tiny.geqlib(["fit", "--config", "own.yaml", *FEW]) == 0
    table("own.csv", {"smiles": SMILES, "logp": [*map(len, SMILES)]})
    proposal = propose("molecules", "own.csv")
    assert "on_bad_molecule" not in proposal.text(1, "none")


def test_columns_that_are_no_targets_are_named():
    pytest.importorskip("rdkit")
    mass = [*map(len, SMILES)]
    other = {"boiling": [*mass[1:], "high"], "batch": [7] * len(mass), "note": [""] * len(mass)}
    table("own.csv", {"smiles": SMILES, "mass": mass, "id": mass} | other)
    reasons = propose("molecules", "own.csv").reasons
    said = "no targets: boiling ('high' is no number), batch (one value alone), note (empty)"
    assert said in reasons


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text(""), "own.csv is empty: expected a header and molecules."),
        (lambda path: path.write_text("\n\n"), "own.csv is empty: expected a header"),
        (lambda path: path.write_bytes(b"smiles,a\n\xff"), "own.csv is no table in UTF-8"),
    ],
)
def test_files_that_are_no_tables(make, said, capsys):
    pytest.importorskip("rdkit")
    make(Path("own.csv"))
    assert said in refused(["new", "molecules", "own.csv"], capsys)


def test_classes_of_molecules():
    pytest.importorskip("rdkit")
    toxic = ["" if k % 5 == 0 else int("O" in x) for k, x in enumerate(SMILES)]
    table("own.csv", {"smiles": SMILES, "toxic": toxic, "mass": [*map(len, SMILES)]})
    proposal = propose("molecules", "own.csv")
    config = yaml.safe_load(proposal.text(1, "none"))
    assert config["model"]["class_path"] == "MaskedClassificationTask"
    assert config["monitor"] == "val/auroc" and config["monitor_mode"] == "max"
    assert any("mass: numbers, left out" in reason for reason in proposal.reasons)
    assert any(f"{toxic.count('')} missing values" in reason for reason in proposal.reasons)


def test_compressed_files_of_structures_are_read_as_such(tmp_path):
    chem = pytest.importorskip("rdkit.Chem")
    path = tmp_path / "own.sdf"
    with chem.SDWriter(str(path)) as writer:
        for length in range(1, 13):
            alkane = chem.MolFromSmiles(length * "C")
            alkane.SetProp("boiling", str(0.5 * length))
            writer.write(alkane)
    packed = path.with_suffix(".sdf.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, compressed = (look(str(file)) for file in (path, packed))
    assert compressed.settings["targets"] == ["boiling"]
    assert compressed.settings | {"file": str(path)} == plain.settings


def test_classes_of_graphs_train(capsys):
    for name, make in (("rings", nx.cycle_graph), ("trees", nx.path_graph)):
        Path("graphs", name).mkdir(parents=True)
        lines = [nx.to_graph6_bytes(make(n), header=False) for n in range(3, 13)]
        Path("graphs", name, "all.g6").write_bytes(b"".join(lines))
    assert tiny.geqlib(["new", "graphs", "graphs", "--minutes", "0.001"]) == 0
    assert "20 graphs of 7.5 nodes on average; 2 classes (rings, trees)" in capsys.readouterr().out
    assert tiny.geqlib(["fit", "--config", "graphs.yaml", *FEW]) == 0
    assert tiny.geqlib(["predict", "runs/graphs", "graphs", "--out", "all.csv"]) == 0
    assert len(Path("all.csv").read_text().splitlines()) == 21


def test_attributes_of_graphs():
    graphs = []
    for n in range(3, 23):
        graph = nx.cycle_graph(n)
        graph.graph["label"] = "large" if n > 12 else "small"
        nx.set_node_attributes(graph, {k: {"mass": float(k), "kind": "ab"[k % 2]} for k in graph})
        nx.set_edge_attributes(graph, 1.0, "length")
        graphs.append(nx.node_link_data(graph, edges="links"))
    Path("rings.json").write_text(json.dumps(graphs))
    config = yaml.safe_load(propose("graphs", "rings.json").text(1, "none"))
    data, model = config["data"]["init_args"], config["model"]["init_args"]["model"]
    assert (data["target"], data["kind"]) == ("label", "classes")
    assert (data["nodes"], data["edges"]) == (["kind", "mass"], ["length"])
    assert model["init_args"]["in_channels"] == 3 and model["init_args"]["edge_dim"] == 1


def test_labels_of_other_names():
    frames = [
        labelled(
            molecule("H2O"),
            dft_energy=float(k),
            free_energy=1.0,
            dft_forces=np.zeros((3, 3)),
            momenta=np.ones((3, 3)),
            total_charge=k % 2,
        )
        for k in range(4)
    ]
    frames[1].info.pop("dft_energy")
    write("water.xyz", frames, format="extxyz")
    proposal = propose("potential", "water.xyz")
    config = yaml.safe_load(proposal.text(1, "none"))
    data = config["data"]["init_args"]
    assert data["energy_key"] == "dft_energy" and data["forces_key"] == "dft_forces"
    assert data["missing"] == "mask" and data["charge_key"] == "total_charge"
    assert "stress_key" not in data
    assert any("some structures lack the energy" in reason for reason in proposal.reasons)


def test_labels_by_their_initials():
    values = {"E_dft": 2.0, "E_gap": 1.0, "F_dft": np.zeros((3, 3)), "f_max": 1.0}
    frames = [labelled(molecule("H2O"), **values) for _ in range(4)]
    write("water.xyz", frames, format="extxyz")
    data = yaml.safe_load(propose("potential", "water.xyz").text(1, "none"))["data"]["init_args"]
    assert data["energy_key"] == "E_dft" and data["forces_key"] == "F_dft"


def test_labels_that_are_named(capsys):
    frames = [labelled(molecule("H2O"), U0=float(k), grad=np.zeros((3, 3))) for k in range(4)]
    write("water.xyz", frames, format="extxyz")
    said = refused(["new", "potential", "water.xyz"], capsys)
    assert "such as --keys energy=U0 forces=grad" in said
    keys = {"energy": "U0", "forces": "grad"}
    config = yaml.safe_load(propose("potential", "water.xyz", keys).text(1, "none"))
    assert (
        config["data"]["init_args"] | {"energy_key": "U0", "forces_key": "grad"}
        == (config["data"]["init_args"])
    )
    for wrong, message in (
        ("energy=E", "has no key 'E', only"),
        ("energy=grad", "have not the shape of energy"),
        ("potential=U0", "--keys names 'potential'"),
        ("U0", "is not LABEL=KEY"),
    ):
        assert message in refused(["new", "potential", "water.xyz", "--keys", wrong], capsys)
    with pytest.raises(ValueError, match="leave them out"):
        propose("graphs", "rings.json", keys)


def test_energies_alone():
    frames = [labelled(molecule("CH4"), energy_dft=float(k)) for k in range(4)]
    write("methane.xyz", frames, format="extxyz")
    config = yaml.safe_load(propose("potential", "methane.xyz").text(1, "none"))
    task, data = config["model"]["init_args"], config["data"]["init_args"]
    assert task["forces_weight"] == 0 and data["forces_key"] is None
    assert config["monitor"] == "val/energy_per_atom_rmse"


def test_isolated_atoms_are_references():
    alone = [labelled(Atoms(s), energy_dft=-1.0) for s in "HO"]
    frames = [labelled(molecule("H2O"), energy_dft=float(k)) for k in range(4)]
    write("water.xyz", alone + frames, format="extxyz")
    config = yaml.safe_load(propose("potential", "water.xyz").text(1, "none"))
    assert config["model"]["init_args"]["references"] == "isolated"
    assert config["data"]["init_args"]["isolated_atoms"] == "references"
    write("water.xyz", alone[:1] + frames, format="extxyz")
    config = yaml.safe_load(propose("potential", "water.xyz").text(1, "none"))
    assert config["model"]["init_args"]["references"] == "least_squares"


def test_the_cutoff_follows_the_density():
    assert choose_cutoff([bulk("Cu")]) == (4.5, 42)
    assert choose_cutoff([bulk("Na")])[0] > 4.5
    assert choose_cutoff([molecule("H2O")]) == (5.0, 2)


def test_epochs_of_a_budget():
    pace = Pace(step=0.1, validation=1.0, steps=10, validations=1, device="cpu")
    assert [pace.epochs(minutes, 100) for minutes in (0.001, 1, 1000)] == [1, 30, 100]


def test_what_cannot_be_proposed(capsys):
    write("bare.xyz", [bulk("Cu")] * 3)
    said = refused(["new", "potential", "bare.xyz"], capsys)
    assert "has no key that names an energy or forces" in said
    write("few.xyz", metals(2))
    nx.write_graphml(nx.karate_club_graph(), "club.graphml")
    assert "predict: nodes` or `predict: links`" in refused(
        ["new", "graphs", "club.graphml"], capsys
    )
    assert "has 2 structures" in refused(["new", "potential", "few.xyz"], capsys)
    assert "There is no file none.xyz" in refused(["new", "potential", "none.xyz"], capsys)
    assert "few.xyz is one file: give a folder" in refused(["new", "points", "few.xyz"], capsys)
    assert "no folder none of meshes" in refused(["new", "points", "none"], capsys)
    shapes(("one",))
    assert "has the class one alone" in refused(["new", "points", "shapes"], capsys)
    assert "--minutes must be positive" in refused(["new", "points", "--minutes", "0"], capsys)
    assert not list(Path.cwd().glob("*.yaml"))


def test_clouds_in_arrays_train(capsys):
    draw = np.random.default_rng(0)
    for name, stretch in (("balls", 1), ("rods", 4)):
        Path("clouds", name).mkdir(parents=True)
        for k in range(10):
            np.save(f"clouds/{name}/{k}.npy", draw.normal(size=(20, 3)) * [1, 1, stretch])
    assert tiny.geqlib(["new", "points", "clouds", "--minutes", "0.001"]) == 0
    out = capsys.readouterr().out
    assert "2 classes (balls, rods); 20 clouds of 20 points" in out
    assert settings("clouds.yaml")["data"]["class_path"] == "CloudData"
    assert tiny.geqlib(["fit", "--config", "clouds.yaml", *FEW]) == 0
    assert tiny.geqlib(["test", "runs/clouds", "clouds"]) == 0


@pytest.mark.parametrize(("dim", "further"), [(2, 0), (2, 1), (3, 2)])
def test_clouds_of_the_plane_and_with_features_train(dim, further, capsys):
    """The configuration fits what the files have of each point."""
    draw = np.random.default_rng(0)
    for name, stretch in (("balls", 1), ("rods", 4)):
        Path("clouds", name).mkdir(parents=True)
        for k in range(10):
            pos = draw.normal(size=(20, dim)) * [1, *(dim - 1) * [stretch]]
            arrays = {"x": draw.normal(size=(20, further))} if further else {}
            if dim == 3:
                arrays["normal"] = np.eye(3)[draw.integers(0, 3, 20)]
            np.savez(f"clouds/{name}/{k}.npz", pos=pos, **arrays)
    assert tiny.geqlib(["new", "points", "clouds", "--minutes", "0.001"]) == 0
    out = capsys.readouterr().out
    model = settings("clouds.yaml")["model"]["init_args"]["model"]
    assert model["init_args"]["in_scalars"] == further
    assert model["class_path"] == ("PONITA" if dim == 2 else "FAPointNet")
    assert ("points of a plane: PONITA on R2xS1" in out) == (dim == 2)
    assert ("normals are left out: FAPointNet" in out) == (dim == 3)
    columns = "1 column beside" if further == 1 else f"{further} columns beside"
    assert (f"{columns} the positions: in_scalars {further}" in out) == (further > 0)
    assert tiny.geqlib(["fit", "--config", "clouds.yaml", *FEW]) == 0


# boxes of one size have the same points
@pytest.mark.filterwarnings("ignore:.*of the training in all features")
@pytest.mark.parametrize("beside", [False, True])
def test_surfaces_in_a_folder_for_each_class_train(beside, capsys):
    """Of PLY and STL too, and beside clouds of points."""
    draw = np.random.default_rng(0)
    for name, stretch in (("flat", 1), ("tall", 5)):
        Path("parts", name).mkdir(parents=True)
        for k in range(10):
            Path("parts", name, f"{k}.off").write_text(TETRAHEDRON.format(stretch))
    if beside:
        Path("parts", "balls").mkdir()
        for k in range(10):
            np.save(f"parts/balls/{k}.npy", draw.normal(size=(30, 3)))
    assert tiny.geqlib(["new", "points", "parts", "--minutes", "0.001"]) == 0
    out = capsys.readouterr().out
    assert ("10 clouds of 30 points and 20 surfaces" if beside else "; 20 surfaces") in out
    assert settings("parts.yaml")["data"]["init_args"]["points"] == 256
    assert tiny.geqlib(["fit", "--config", "parts.yaml", *FEW]) == 0


def test_meshes_without_a_test_split(capsys):
    shapes(splits=("train",))
    assert "There are no test meshes in shapes" in refused(["new", "points", "shapes"], capsys)
