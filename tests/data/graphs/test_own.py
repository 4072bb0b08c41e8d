"""Graphs of one's own: every kind of source, what is learnt of them, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.utils import to_networkx

from geqlib.cli import main
from geqlib.data import OwnGraphData
from geqlib.data.graphs import motif_counts
from geqlib.data.graphs.graph_files import read_graph_file
from geqlib.data.graphs.own import graph_arrays
from geqlib.data.targets import checked_units, encoded
from geqlib.train.runs.record import metric_units

RINGS = [nx.cycle_graph(n) for n in range(4, 14)]
STARS = [nx.star_graph(n) for n in range(3, 13)]


def drawings() -> list[nx.Graph]:
    """Rings and stars with attributes of graphs, nodes and edges, and nodes that are text."""
    graphs = []
    for shape, k, graph in [("ring", k, g) for k, g in enumerate(RINGS)] + [
        ("star", k, g) for k, g in enumerate(STARS)
    ]:
        drawing = nx.relabel_nodes(graph, str)
        nx.set_node_attributes(drawing, {v: drawing.degree(v) / 2 for v in drawing}, "half")
        nx.set_node_attributes(drawing, {v: "ab"[int(v) % 2] for v in drawing}, "letter")
        nx.set_edge_attributes(drawing, {e: float(i) for i, e in enumerate(drawing.edges)}, "pos")
        drawing.graph |= {"shape": shape, "size": float(k)}
        graphs.append(drawing)
    return graphs


def write_graphml(folder: Path) -> Path:
    for k, graph in enumerate(drawings()):
        nx.write_graphml(graph, folder / f"{k:02}.graphml")
    return folder


def write_json(folder: Path) -> Path:
    content = [nx.node_link_data(graph, edges="edges") for graph in drawings()]
    (folder / "all.json").write_text(json.dumps(content))
    return folder / "all.json"


def write_json_lines(folder: Path) -> Path:
    lines = [json.dumps(nx.node_link_data(graph, edges="links")) for graph in drawings()]
    (folder / "all.jsonl").write_text("\ufeff" + "\n".join(lines))
    return folder / "all.jsonl"


@pytest.mark.parametrize("write", [write_graphml, write_json, write_json_lines])
def test_files_with_attributes(write: Callable[[Path], Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": "shape", "nodes": ["half", "letter"], "edges": ["pos"]}
    data = OwnGraphData(write(tmp_path), 0, 0, **options)
    data.setup()
    oracle = OwnGraphData.from_graphs(drawings(), val=0, test=0, **options)
    oracle.setup()
    ours, theirs = data.splits["train"], oracle.splits["train"]
    assert data.classes == ["ring", "star"] and ours.x.size(1) == 3
    for name in ("x", "y", "edge_index", "edge_attr"):
        assert torch.equal(ours.arrays[name], theirs.arrays[name]), name


def test_graph6_by_class_and_by_a_list_of_labels(tmp_path: Path) -> None:
    ring, star = (
        b"".join(nx.to_graph6_bytes(graph, header=False) for graph in graphs)
        for graphs in (RINGS, STARS)
    )
    (tmp_path / "rings.g6").write_bytes(ring)
    (tmp_path / "stars.g6").write_bytes(star)
    (tmp_path / "all.g6").write_bytes(ring + star)
    (tmp_path / "sizes.txt").write_text("".join(f"{k / 2}\n" for k in range(20)))
    for name in ("rings", "stars"):
        (tmp_path / "by_class" / name).mkdir(parents=True)
        (tmp_path / "by_class" / name / "g.g6").write_bytes((tmp_path / f"{name}.g6").read_bytes())
    files = {"rings": str(tmp_path / "rings.g6"), "stars": str(tmp_path / "stars.g6")}
    for source in (files, str(tmp_path / "by_class")):
        data = OwnGraphData(source, 0, 0)
        data.setup()
        assert data.classes == ["rings", "stars"]
        assert data.splits["train"].y.tolist() == [0] * 10 + [1] * 10
    sizes = OwnGraphData(tmp_path / "all.g6", 0, 0, labels=tmp_path / "sizes.txt", kind="numbers")
    sizes.setup()
    assert sizes.splits["train"].y[:, 0].tolist() == [k / 2 for k in range(20)]
    mean, std = sizes.target_scale()
    assert (mean, std) == pytest.approx((4.75, np.std(np.arange(20) / 2)))


def test_sparse6_and_single_files(tmp_path: Path) -> None:
    path = tmp_path / "one.s6"
    path.write_bytes(nx.to_sparse6_bytes(nx.petersen_graph(), header=False))
    (graph,) = read_graph_file(path)
    assert nx.is_isomorphic(graph, nx.petersen_graph())
    with pytest.raises(ValueError, match=r"pic.png is none of .graphml, .json"):
        read_graph_file(tmp_path / "pic.png")


def test_numbers_and_several_of_them() -> None:
    graphs = drawings()
    for graph in graphs:
        graph.graph["double"] = 2 * graph.graph["size"]
    del graphs[3].graph["double"]
    data = OwnGraphData.from_graphs(
        graphs, target=["size", "double"], kind="numbers", val=0, test=0.1
    )
    data.setup()
    whole = torch.cat([part.y for part in data.splits.values()])
    assert whole.shape == (20, 2) and int(whole[:, 1].isnan().sum()) == 1
    known = whole[~whole[:, 1].isnan()]
    assert torch.equal(known[:, 1], 2 * known[:, 0])
    assert len(data.target_scale()[0]) == 2


def test_folds_are_spread_over_classes() -> None:
    tested = []
    for fold in range(5):
        data = OwnGraphData.from_graphs(drawings(), target="shape", fold=fold, num_folds=5)
        data.setup()
        assert sorted(data.splits["test"].y.tolist()) == [0, 0, 1, 1]
        assert len(data.val_dataloader()) == 2
        tested += data.numbers["test"].tolist()
    assert sorted(tested) == list(range(20))


def test_nodes_of_one_graph_keep_their_graph() -> None:
    club = nx.karate_club_graph()
    data = OwnGraphData.from_graphs([club], predict="nodes", target="club", val=0.2, test=0.3)
    data.setup()
    y = np.array([["Mr. Hi", "Officer"].index(club.nodes[v]["club"]) for v in club])
    seen = np.zeros(len(y), dtype=int)
    for part in data.splits.values():
        (batch,) = [part.__getitems__([0])]
        assert batch.num_nodes == 34 and batch.edge_index.size(1) == 2 * 78
        labelled = (batch.y >= 0).numpy()
        assert (batch.y.numpy()[labelled] == y[labelled]).all()
        seen += labelled
    assert (seen == 1).all()
    assert [int((part.y >= 0).sum()) for part in data.splits.values()] == [17, 7, 10]


def test_masks_of_torch_geometric_are_the_splits() -> None:
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    graph = Data(x=torch.eye(6), edge_index=edges, y=torch.tensor([0, 1, 2, 0, 1, 2]))
    graph.train_mask = torch.tensor([1, 1, 0, 0, 0, 0]).bool()
    graph.val_mask = torch.tensor([[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]).T.bool()
    graph.test_mask = torch.tensor([0, 0, 0, 1, 1, 1]).bool()
    data = OwnGraphData.from_graphs([graph], predict="nodes")
    with pytest.warns(UserWarning, match="val_mask has 2 columns, .* the first is taken"):
        data.setup()
    assert {name: part.y.tolist() for name, part in data.splits.items()} == {
        "train": [0, 1, -1, -1, -1, -1],
        "val": [-1, -1, 2, -1, -1, -1],
        "test": [-1, -1, -1, 0, 1, 2],
    }
    fold = OwnGraphData.from_graphs([graph], predict="nodes", fold=1, num_folds=2, val=0)
    fold.setup()
    assert fold.numbers["test"].tolist() != [3, 4, 5]
    for shares in ({"val": 0.3}, {"test": 0.2}):
        both = OwnGraphData.from_graphs([graph], predict="nodes", **shares)
        with pytest.raises(ValueError, match="has train_mask, val_mask, test_mask, which are its"):
            both.setup()
    several = OwnGraphData.from_graphs([graph] * 10, predict="nodes")
    with pytest.warns(UserWarning, match="test_mask, train_mask, val_mask of 10 graphs are not"):
        several.setup()


def test_positions_of_torch_geometric_far_from_the_origin() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    draw = torch.Generator().manual_seed(0)
    pos = torch.rand(2, 3, generator=draw, dtype=torch.float64)
    graphs = [Data(pos=pos + shift, edge_index=edges, y=0) for shift in (0.0, 1e6)]
    OwnGraphData.from_graphs(graphs[:1] * 10).setup()
    with pytest.raises(ValueError, match="Graph 1: its points are so far from the origin"):
        OwnGraphData.from_graphs(graphs * 5).setup()


def test_nodes_of_several_graphs() -> None:
    data = OwnGraphData.from_graphs(drawings(), predict="nodes", target="half", kind="numbers")
    data.setup()
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 16,
        "val": 2,
        "test": 2,
    }
    batch = next(iter(data.train_dataloader()))
    degrees = torch.bincount(batch.edge_index[0], minlength=batch.num_nodes)
    assert torch.equal(batch.y[:, 0], degrees / 2)


def test_counts_of_motifs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the features of nodes, in every split, for nodes of one graph, and in a file."""
    graphs = [nx.gnp_random_graph(9, 0.5, seed=k) for k in range(8)]
    for k, graph in enumerate(graphs):
        nx.set_node_attributes(graph, dict(graph.degree), "degree")
        nx.set_node_attributes(graph, {v: "ab"[v % 2] for v in graph}, "letter")
        graph.graph["y"] = k % 2
    counted: dict[str, Any] = {"nodes": ["degree"], "features": {"nodes": ["C3"], "graph": ["K4"]}}
    data = OwnGraphData.from_graphs(graphs, **counted)
    data.setup()
    (tmp_path / "more.json").write_text(json.dumps([nx.node_link_data(g) for g in graphs[:3]]))
    other = data.of_file(tmp_path / "more.json")
    other.setup()
    for part in (*data.splits.values(), other.splits["test"]):
        for one in (part[k] for k in range(len(part))):
            graph = to_networkx(one, to_undirected=True)
            triangles = [float(t) for t in nx.triangles(graph).values()]
            assert one.x[:, 1].tolist() == pytest.approx(np.log1p(triangles), rel=1e-6)
            assert one.x[:, 0].tolist() == [d for _, d in graph.degree]
    one = OwnGraphData.from_graphs(graphs[:1], predict="nodes", target="letter", **counted)
    one.setup()
    assert torch.equal(one.splits["test"].x[:, 1], one.splits["train"].x[:, 1])
    again = OwnGraphData.from_graphs(graphs, features={"nodes": ["P4", "C5"]})
    again.prepare_data()
    monkeypatch.setattr(motif_counts, "_counted", None)  # one process has counted for all
    again.setup()
    monkeypatch.undo()
    directed = nx.DiGraph([(0, 1), (1, 2)])
    directed.graph["y"] = 0
    with pytest.raises(ValueError, match="directed"):
        OwnGraphData.from_graphs([directed] * 4, features={"graph": "cliques"}).setup()


def test_links_are_not_seen_before() -> None:
    graphs = [nx.karate_club_graph(), nx.path_graph(40)]
    data = OwnGraphData.from_graphs(graphs, predict="links", val=0.1, test=0.2, data_seed=2)
    data.setup()
    pairs: dict[str, set[tuple[int, int]]] = {}
    for name, part in data.splits.items():
        batch: Any = part.__getitems__([0, 1])
        edges = {tuple(sorted(e)) for e in batch.edge_index.T.tolist()}
        asked = batch.edge_label_index.T[batch.edge_label > 0].tolist()
        pairs[name] = {tuple(sorted(pair)) for pair in asked}
        whole = {(i, j) for i, j in nx.karate_club_graph().edges}
        whole |= {(34 + i, 35 + i) for i in range(39)}
        assert pairs[name] <= whole and edges <= whole and not pairs[name] & edges
        none = batch.edge_label_index.T[batch.edge_label == 0].tolist()
        assert not {tuple(sorted(pair)) for pair in none} & whole
    assert not pairs["train"] & pairs["test"] and not pairs["val"] & pairs["test"]
    again = OwnGraphData.from_graphs(graphs, predict="links", val=0.1, test=0.2, data_seed=2)
    again.setup()
    first, second = (d.splits["test"].edge_label_index for d in (data, again))
    assert torch.equal(first, second) and data.num_folds is None


CODE = """
import networkx as nx
import torch
from torch_geometric.data import Data, InMemoryDataset


def rings(largest, pendant=False):
    graphs = [nx.cycle_graph(n) for n in range(3, largest)]
    for graph in graphs:
        graph.graph["shape"] = "ring"
    trees = [nx.path_graph(n) for n in range(3, largest)]
    for graph in trees:
        graph.graph["shape"] = "tree"
    return graphs + trees


class Walks(InMemoryDataset):
    def __init__(self, split="train"):
        super().__init__(None)
        graphs = []
        for n in range(4, 12 if split == "train" else 7):
            walk = torch.arange(n)
            edges = torch.stack([walk[:-1], walk[1:]])
            graphs.append(Data(x=torch.randn(n, 2), edge_index=edges, y=torch.tensor([n % 2])))
        self.data, self.slices = self.collate(graphs)


def nothing():
    return 3


LIST = [1, 2]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code of one's own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "drawn_graphs.py").write_text(CODE)
    return tmp_path


def test_functions_and_data_sets_by_import_path(project: Path) -> None:
    data = OwnGraphData("drawn_graphs.rings", target="shape", arguments={"largest": 13})
    data.setup()
    assert sum(len(part) for part in data.splits.values()) == 20
    walks = OwnGraphData("drawn_graphs.Walks", {"split": "val"}, {"split": "test"})
    walks.setup()
    assert {name: len(part) for name, part in walks.splits.items()} == {
        "train": 8,
        "val": 3,
        "test": 3,
    }
    assert walks.splits["val"].y.tolist() == [0, 1, 0]


def test_a_data_set_of_torch_geometric_in_python(tmp_path: Path) -> None:
    class Pairs(InMemoryDataset):
        def __init__(self) -> None:
            super().__init__(None)
            edge = torch.tensor([[0, 1], [1, 0]])
            parts = [
                Data(pos=torch.rand(2, 3), edge_index=edge, y=torch.rand(3)) for _ in range(10)
            ]
            self.data, self.slices = self.collate(parts)

    data = OwnGraphData.from_graphs(Pairs(), kind="numbers")
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.y.shape == (8, 3) and batch.pos.shape == (16, 3) and "x" not in batch
    assert data.targets == ["y0", "y1", "y2"]


def test_both_libraries_give_the_same_arrays() -> None:
    graphs = [nx.convert_node_labels_to_integers(graph) for graph in (*RINGS, *STARS)]
    data = [Data(edge_index=torch.tensor(list(g.to_directed().edges)).T) for g in graphs]
    for graph, twin in zip(graphs, data, strict=True):
        assert nx.utils.graphs_equal(to_networkx(twin, to_undirected=True), graph)
    ours, theirs = graph_arrays(graphs)[0], graph_arrays(data)[0]
    for name in ("nodes", "edges", "edge_index", "x"):
        assert np.array_equal(ours[name], theirs[name]), name


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["b", None, "a", "b"], "classes", [1, -1, 0, 1]),
        ([2.0, 5, math.nan, 2], "classes", [0, 1, -1, 0]),
        ([torch.tensor([1]), torch.tensor([0])], "classes", [1, 0]),
        ([1, None, 2.5], "numbers", [[1], [math.nan], [2.5]]),
    ],
)
def test_values_that_people_write(values: Any, kind: Any, expected: Any) -> None:
    np.testing.assert_equal(encoded(values, kind, "target {}")[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "nowhere.g6"}, r"no file or folder nowhere.g6, here or .* GEQLIB_DATA"),
        ({"source": "drawn_graphs.lost"}, "drawn_graphs.lost cannot be imported"),
        ({"source": "no_such.module"}, "no_such.module cannot be imported .* run geqlib in the f"),
        ({"source": "drawn_graphs.LIST"}, "drawn_graphs.LIST is a list: name a class or a func"),
        ({"source": "drawn_graphs.nothing"}, "returns a int: return a list of networkx graphs"),
        ({"source": "drawn_graphs.rings"}, r"drawn_graphs.rings\(\) fails \(TypeError"),
        (
            {"target": "colour"},
            "No graph has the attribute 'colour': name the right one in `target",
        ),
        ({"target": "shape", "kind": "numbers"}, "target of graph 0 is 'ring', which is no number"),
        (
            {"target": "size", "nodes": ["mass"]},
            "without 'mass'.*of its nodes are: half, letter",
        ),
        ({"target": ["a", "b"]}, "several targets are numbers"),
        ({"target": "half_of"}, "No graph has the attribute"),
        ({"predict": "edges"}, '"graphs", "nodes" or "links", got .edges'),
        ({"kind": "text"}, '"classes" or "numbers", got .text'),
        ({"predict": "links", "fold": 1}, "Links have no folds"),
        ({"predict": "links", "features": {"graph": "cliques"}}, "would show links that are held"),
        ({"predict": "links", "val": {"largest": 5}}, "Links are divided within each graph"),
        ({"target": "shape", "labels": "lines.txt"}, "has 2 lines, but there are 20 graphs"),
    ],
)
def test_what_is_refused(project: Path, options: dict[str, Any], message: str) -> None:
    (project / "lines.txt").write_text("a\nb\n")
    write_json(project)
    with pytest.raises(ValueError, match=message):
        OwnGraphData(**({"source": "all.json"} | options)).setup()


def test_damaged_files(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.json", '{"nodes": [', "does not hold graphs"),
        ("b.json", '{"nodes": []}', 'neither "edges" nor "links"'),
        ("c.json", "[]", r"it is empty\): write it as networkx writes .json files"),
        ("d.graphml", "<graphml><node></graphml>", "does not hold graphs"),
        ("e.g6", "D~~~~~~~~", "does not hold graphs"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_graph_file(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There are no graphs in .*empty: put .graphml"):
        OwnGraphData(tmp_path / "empty").setup()


def test_mixed_graphs_are_refused() -> None:
    edge = torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match="The graphs are of both kinds"):
        graph_arrays([nx.path_graph(3), Data(edge_index=edge)])
    with pytest.raises(ValueError, match="The graphs are of a int"):
        graph_arrays([3])
    with pytest.raises(ValueError, match="Graph 0 has x, but not all graphs do"):
        graph_arrays([Data(x=torch.ones(2, 1), edge_index=edge), Data(edge_index=edge)])
    with pytest.raises(ValueError, match="x has several widths"):
        graph_arrays([Data(x=torch.ones(2, n), edge_index=edge) for n in (1, 2)])
    with pytest.raises(ValueError, match="classes are text or whole numbers"):
        encoded([0.5], "classes", "target {}")
    with pytest.raises(ValueError, match="of several kinds, text and numbers"):
        encoded([1, "a"], "classes", "target {}")


def configured(project: Path, data: dict[str, Any], task: str, **net: Any) -> str:
    model = {"class_path": "MonoidGNN", "init_args": {"aggr": "max", "channels": 4, **net}}
    classes = {"classes": 2} if "Classification" in task else {}
    settings = {
        "monitor": "val/loss",
        "model": {"class_path": task, "init_args": {"model": model, **classes}},
        "data": {"class_path": "OwnGraphData", "init_args": data},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (project / "own.yaml").write_text(yaml.safe_dump(settings))
    return f"--config={project / 'own.yaml'}"


@pytest.mark.slow
def test_code_of_ones_own_in_cross_validation(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"in_channels": 2, "out_graph": 2}
    data = {"source": "drawn_graphs.Walks", "num_folds": 2, "val": 0.25}
    config = configured(project, data, "GraphClassificationTask", **net)
    assert main(["cv", config, "--out", "cv"]) == 0
    summary = json.loads((project / "cv" / "folds.json").read_text())
    assert summary["folds"] == [0, 1] and summary["measure"] == "accuracy"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("predict", "task", "net"),
    [
        ("nodes", "NodeClassificationTask", {"out_node": 2}),
        ("links", "LinkPredictionTask", {"out_node": 4}),
    ],
)
def test_nodes_and_links_are_learnt(project: Path, predict: str, task: str, net: Any) -> None:
    nx.write_graphml(nx.karate_club_graph(), project / "club.graphml")
    data = {"source": "club.graphml", "predict": predict, "target": "club", "test": 0.2}
    config = configured(project, data, task, in_channels=11, **net)
    run = f"--trainer.default_root_dir={project / 'run'}"
    assert main(["fit", config, run]) == 0
    checkpoint = f"--ckpt_path={project / 'run' / 'checkpoints' / 'best.ckpt'}"
    assert main(["test", config, run, checkpoint]) == 0
    assert main(["predict", config, run, checkpoint]) == 0
    assert main(["check", str(project / "run" / "checkpoints" / "best.ckpt")]) == 0


def test_units_are_of_targets() -> None:
    assert checked_units(None, ["a"]) == {}
    with pytest.raises(ValueError, match="units names 'mass', which is not among the targets: ch"):
        checked_units({"mass": "u"}, ["radius", "height"])
    rings = [nx.cycle_graph(n) for n in range(3, 13)]
    for ring in rings:
        ring.graph["box"] = [float(len(ring)), 1.0 / len(ring)]
    own = OwnGraphData.from_graphs(rings, target="box", kind="numbers", units={"box": "cm"})
    own.setup()
    assert own.units == {"box0": "cm", "box1": "cm"}
    units = metric_units(None, own)
    assert units == {f"{e}_box{k}": "cm" for e in ("mae", "rmse") for k in (0, 1)}
