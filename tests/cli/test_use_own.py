"""Models of own tables, graphs and clouds on files without labels, far from the training data."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from ase.build import molecule
from ase.io import write
from safetensors.torch import load_file
from torch_geometric.data import Batch, Data

import geqlib
from geqlib.data import CloudData, OwnGraphData
from tests.cli.test_main import refused
from tests.data import raw_own
from tests.train import tiny

pytestmark = pytest.mark.slow
ATOMS, BONDS = [119, 9, 11, 12, 9, 5, 8, 2, 2], [22, 6, 2]


def train(folder: str, task: dict[str, Any], data: dict[str, Any], monitor: str) -> None:
    settings = {
        "monitor": monitor,
        "model": task,
        "data": data,
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    Path(f"{folder}.yaml").write_text(yaml.safe_dump(settings))
    words = ["fit", "--config", f"{folder}.yaml", "--trainer.default_root_dir", folder]
    assert tiny.geqlib(words) == 0


def documented(run: str) -> list[list[str]]:
    """The commands of the page on own data for one of its runs."""
    text = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text()
    section = text.partition("## Files without labels")[2].partition("\n## ")[0]
    commands = re.findall(rf"^geqlib (\w+ runs/{run} .*?) *#", section, re.MULTILINE)
    return [command.split() for command in commands]


def named(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def drawings(count: int = 12) -> list[nx.Graph]:
    """Rings and paths whose nodes have a colour and a mass, and which know what they are."""
    graphs = []
    for n in range(3, 3 + count):
        for name, make in (("ring", nx.cycle_graph), ("path", nx.path_graph)):
            graph = make(n)
            for node in graph:
                graph.nodes[node].update(colour=("red", "blue")[node % 2], mass=float(node))
            graph.graph["shape"] = name
            graphs.append(graph)
    return graphs


def write_graphs(path: Path, graphs: list[nx.Graph]) -> None:
    path.write_text("\n".join(json.dumps(nx.node_link_data(g, edges="edges")) for g in graphs))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the runs `logp`, `shapes`, `degrees` and `clouds`."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GEQLIB_CACHE", str(folder / "cache"))
        patch.delenv("GEQLIB_DATA", raising=False)
        write_graphs(folder / "drawn.jsonl", drawings())
        net = named("MonoidGNN", in_channels=3, aggr="max", out_graph=2, channels=4)
        task = named("GraphClassificationTask", classes=2, model=net)
        features = {"source": "drawn.jsonl", "target": "shape", "nodes": ["colour", "mass"]}
        train("shapes", task, named("OwnGraphData", **features), "val/loss")
        net = named("MessagePassingNet", in_channels=2, out_channels=2)
        task = named("GraphClassificationTask", classes=2, model=net)
        data = {"source": "drawn.jsonl", "target": "shape"}
        train("degrees", task, named("OwnGraphData", **data), "val/loss")
        draw = np.random.default_rng(0)
        for name, length in (("balls", 1.0), ("rods", 9.0)):
            Path("clouds", name).mkdir(parents=True)
            for k in range(12):
                np.save(f"clouds/{name}/{k}.npy", draw.normal(size=(30, 3)) * [1, 1, length])
        net = named("PointNet", out_scalars=2, channels=4)
        task = named("ClassificationTask", classes=2, model=net)
        train("points", task, named("CloudData", source="clouds", points=16), "val/loss")
        yield folder


@pytest.fixture
def moved(here: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder, in which the training data has another name."""
    monkeypatch.chdir(here)
    for name in ("drawn.jsonl", "clouds"):
        Path(name).rename(f"old_{name}")
    yield here
    for name in ("drawn.jsonl", "clouds"):
        Path(f"old_{name}").rename(name)


def test_molecules_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    raw_own.write_molecules(Path("molecules.csv"))
    net = named("MonoidGNN", in_channels=ATOMS, edge_dim=BONDS, aggr="max", out_graph=1, channels=4)
    data = named("MoleculeTableData", file="molecules.csv", targets="logp")
    train("logp", named("MaskedRegressionTask", model=net), data, "val/mae")
    labelled = {row["smiles"]: row for row in table("molecules.csv")}
    Path("molecules.csv").rename("old.csv")
    capsys.readouterr()
    assert tiny.geqlib(["test", "logp", "old.csv"]) == 0  # with its targets
    assert "mae" in capsys.readouterr().out
    Path("new.csv").write_text("name,smiles\na,CO\n\nb,c1ccccc1\nc,CCN\n")
    assert tiny.geqlib(["predict", "logp", "new.csv"]) == 0
    rows = table("new_predictions.csv")
    assert [row["graph"] for row in rows] == ["CO", "c1ccccc1", "CCN"]
    whole = geqlib.load_predictor("logp").predict("old.csv")
    assert whole["true"].shape == whole["predicted"].shape and "true" not in rows[0]
    for k, smiles in enumerate(labelled):
        own = [float(row["predicted"]) for row in rows if row["graph"] == smiles]
        assert own == pytest.approx([float(whole["predicted"][k])] * len(own), abs=1e-5)
    assert {"CO", "CCN"} <= set(labelled)
    assert "has no label 'y'" in refused(["test", "logp", "new.csv"], capsys)
    Path("runs").mkdir()
    Path("logp").rename("runs/logp")
    for old, new in (("new", "new_molecules"), ("old", "other_labelled")):
        Path(f"{old}.csv").rename(f"{new}.csv")
    assert [tiny.geqlib(words) for words in documented("logp")] == [0, 0]
    Path("runs/logp").rename("logp")
    Path("wrong.csv").write_text("name\na\n")
    assert "has no column 'smiles'" in refused(["predict", "logp", "wrong.csv"], capsys)


@pytest.mark.parametrize("run", ["shapes", "degrees"])
def test_graphs_mean_what_those_of_the_training_do(run: str, moved: Path) -> None:
    """Alone, a red node would be the first column of one, and a ring's degree the only one."""
    graphs = drawings(3)
    for k, graph in enumerate(graphs):
        del graph.graph["shape"]
        if run == "shapes":
            graph.remove_nodes_from([node for node in graph if node % 2])  # all of them red
            graph.add_edges_from(zip(list(graph)[:-1], list(graph)[1:], strict=True))
        write_graphs(Path(f"one{k}.jsonl"), [graph])
    write_graphs(Path("new.jsonl"), graphs)
    predictor = geqlib.load_predictor(run)
    whole = predictor.predict("new.jsonl")
    assert "true" not in whole and whole["logits"].shape == (6, 2)
    for k in range(6):
        one = predictor.predict(f"one{k}.jsonl")["logits"]
        assert torch.allclose(one, whole["logits"][k : k + 1], atol=1e-6)
    data = predictor.data("new.jsonl")
    data.setup()
    if run == "shapes":
        x = data.splits["test"].x
        assert x.shape[1] == 3 and bool((x[:, 1] == 1).all())  # blue, red, mass
    assert tiny.geqlib(["predict", run, "new.jsonl"]) == 0
    assert {"class", "p(path)", "p(ring)"} <= set(table("new_predictions.csv")[0])


def test_graphs_with_labels_are_measured(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_graphs(Path("labelled.jsonl"), drawings(4))
    assert tiny.geqlib(["test", "degrees", "labelled.jsonl"]) == 0
    assert "accuracy" in capsys.readouterr().out
    graphs = drawings(2)
    graphs[0].graph["shape"] = "star"
    write_graphs(Path("other.jsonl"), graphs)
    line = refused(["test", "degrees", "other.jsonl"], capsys)
    assert "graph 0 is 'star', which is none of the model's classes, path, ring" in line


def test_features_that_the_training_did_not_have(
    moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_graphs(Path("star.jsonl"), [nx.star_graph(4)])
    line = refused(["predict", "degrees", "star.jsonl"], capsys)
    assert "has 4 edges, which no node of the training graphs has (1, 2)" in line
    graph = drawings(1)[0]
    graph.nodes[0]["colour"] = "green"
    write_graphs(Path("green.jsonl"), [graph])
    line = refused(["predict", "shapes", "green.jsonl"], capsys)
    assert "'colour' is 'green', which no training graph has (blue, red)" in line
    line = refused(["predict", "shapes", "star.jsonl"], capsys)
    assert "nodes without 'colour'" in line


def test_clouds(moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(1)
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", draw.normal(size=(30, 3)) * [1, 1, 9])
    for file, count in ((tmp_path / "1.npy", 1), (tmp_path, 3)):
        assert tiny.geqlib(["predict", "points", str(file), "--out", "clouds.csv"]) == 0
        rows = table("clouds.csv")
        assert len(rows) == count and {"p(balls)", "p(rods)"} < set(rows[0])
        assert "true" not in rows[0]
    assert [row["graph"] for row in rows] == ["0.npy", "1.npy", "2.npy"]
    assert tiny.geqlib(["test", "points", "old_clouds"]) == 0
    assert "accuracy" in capsys.readouterr().out
    (tmp_path / "list.csv").write_text("file\n0.npy\n2.npy\n")
    predicted = geqlib.load_predictor("points").predict(tmp_path / "list.csv")
    assert predicted.keys() == {"logits"} and len(predicted["logits"]) == 2
    (tmp_path / "list.csv").write_text("file,label\n0.npy,rods\n2.npy,\n")
    predicted = geqlib.load_predictor("points").predict(tmp_path / "list.csv")
    assert predicted["true"].tolist() == [1, -1]
    (tmp_path / "empty").mkdir()
    assert "no clouds in" in refused(["predict", "points", str(tmp_path / "empty")], capsys)


def test_commands_of_the_page(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs").mkdir()
    Path("runs", "graphs").symlink_to(moved / "degrees")
    Path("runs", "clouds").symlink_to(moved / "points")
    lines = [nx.to_graph6_bytes(nx.path_graph(n), header=False) for n in (3, 4)]
    Path("new_graphs.g6").write_bytes(b"".join(lines))
    Path("new_clouds").mkdir()
    np.save("new_clouds/a.npy", np.random.default_rng(0).normal(size=(20, 3)))
    for words in [*documented("graphs"), *documented("clouds")]:
        assert tiny.geqlib(words) == 0
    assert len(table("new_graphs_predictions.csv")) == 2
    assert [row["graph"] for row in table("new_clouds_predictions.csv")] == ["a.npy"]


def test_links_of_other_graphs_are_not_asked_for() -> None:
    data = OwnGraphData.from_graphs([nx.karate_club_graph()], predict="links")
    with pytest.raises(ValueError, match="Links are held back from the graphs of the training"):
        data.of_file("other.jsonl")
    with pytest.raises(ValueError, match="does not say what the features of its graphs mean"):
        OwnGraphData("old.jsonl").of_file("other.jsonl")
    assert CloudData("old").of_file("other").targets == ["label"]


def test_data_whose_names_have_other_numbers(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    others = drawings()
    for graph in others:  # ring is 1 of path and ring, and 0 of ring and star
        graph.graph["shape"] = {"path": "star", "ring": "ring"}[graph.graph["shape"]]
    write_graphs(Path("stars.jsonl"), others)
    with_config = ["test", "--config", "shapes.yaml", "--ckpt_path", "shapes/checkpoints/last.ckpt"]
    with_config += ["--trainer.default_root_dir", "elsewhere"]
    resumed = ["fit", *with_config[1:5], "--trainer.default_root_dir", "shapes"]
    resumed += ["--trainer.max_epochs", "2"]
    for words in (["test", "shapes"], ["predict", "shapes"], with_config, resumed):
        sentence = refused([*words, "--data.source", "stars.jsonl"], capsys)
        assert "classes of the data are ring, star, but the model was trained on path" in sentence
    recoloured = drawings()
    for graph in recoloured:
        for node in graph:
            graph.nodes[node]["colour"] = ("green", "red")[node % 2]
    write_graphs(Path("green.jsonl"), recoloured)
    sentence = refused([*with_config, "--data.source", "green.jsonl"], capsys)
    assert "columns of features of the data are" in sentence
    assert tiny.geqlib([*with_config, "--data.source", "drawn.jsonl"]) == 0


def test_targets_in_another_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    rows = [f"{'C' * n},{n},{-n},{n}" for n in range(1, 21)]
    Path("two.csv").write_text("\n".join(["smiles,a,b,c", *rows]))
    net = named("MonoidGNN", in_channels=ATOMS, edge_dim=BONDS, aggr="max", out_graph=2, channels=4)
    data = named("MoleculeTableData", file="two.csv", targets=["a", "b"])
    task = named("MaskedRegressionTask", num_targets=2, model=net)
    train("two", task, data, "val/std_mae")
    capsys.readouterr()
    for words in (["test", "two"], ["predict", "two", "two.csv"], ["test", "two", "two.csv"]):
        sentence = refused([*words, "--data.targets", "[b, a]"], capsys)
        assert "targets of the data are b, a, but the model was trained on a, b" in sentence
    # another column may have the values of one
    assert tiny.geqlib(["test", "two", "two.csv", "--data.targets", "[c, b]"]) == 0


def test_an_unknown_class_stays_unknown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    graphs = drawings()[:3]
    del graphs[1].graph["shape"]
    write_graphs(Path("some.jsonl"), graphs)
    assert tiny.geqlib(["predict", "shapes", "some.jsonl"]) == 0
    assert [row["true"] for row in table("some_predictions.csv")] == ["ring", "", "ring"]


def test_properties_of_structures_without_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [molecule("H2O") for _ in range(12)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.info["size"] = float(np.ptp(atoms.positions))
    write("labelled.xyz", frames)
    properties = {"size": "graph:scalar"}
    net = named("PONITA", in_scalars=16, in_vectors=0, out_scalars=1, out_vectors=0, cutoff=3.0)
    net["init_args"] |= {"channels": 4, "layers": 1}
    task = named("PropertyTask", properties=properties, model=net)
    data = named("PropertyData", source="labelled.xyz", properties=properties)
    train("sizes", task, data, "val/loss")
    write("bare.xyz", [molecule("H2O"), molecule("H2")])
    assert tiny.geqlib(["predict", "sizes", "bare.xyz", "--out", "bare.safetensors"]) == 0
    predicted = load_file("bare.safetensors")
    assert predicted["size"].isfinite().all() and predicted["size_true"].isnan().all()
    whole = geqlib.load_predictor("sizes").predict("labelled.xyz")
    assert whole["size_true"].isfinite().all()
    capsys.readouterr()
    assert "there is no key 'size'" in refused(["test", "sizes", "bare.xyz"], capsys)


def test_batches_of_other_types_and_what_is_no_graph(here: Path) -> None:
    predictor = geqlib.load_predictor(here / "degrees")
    graph = Data(x=torch.eye(2), edge_index=torch.tensor([[0, 1], [1, 0]]))
    expected = predictor(Batch.from_data_list([graph]))["logits"]
    double = Batch.from_data_list([Data(x=graph.x.double(), edge_index=graph.edge_index)])
    assert torch.equal(predictor(double)["logits"], expected) and double.x.dtype == torch.float64
    for x, edge_index, said in (
        (graph.x * torch.nan, graph.edge_index, "NaN"),
        (graph.x, torch.tensor([[0], [-1]]), "0 -> -1, but there are"),
        (graph.x, torch.tensor([[0], [5]]), "0 -> 5, but there are"),
    ):
        with pytest.raises(ValueError, match=said):
            predictor(Batch.from_data_list([Data(x=x, edge_index=edge_index)]))
