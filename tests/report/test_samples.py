"""Pictures of what generative runs drew, and files of samples that are damaged."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from rich.console import Console

from geqlib.data.graphs.sampled_files import write_graphs
from geqlib.files.molecule_files import write_samples
from geqlib.generation import Molecules
from geqlib.report import write_report
from geqlib.report.sample_pictures import layout
from geqlib.report.samples import read_graphs, read_molecules
from tests.report.test_report import PNG, write_run

WATER = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])


def molecules() -> Molecules:
    """Water, an oxygen atom, and one that ended in NaN."""
    pos = torch.cat([WATER, torch.zeros(1, 3), torch.full((2, 3), torch.nan)])
    return Molecules(torch.tensor([8, 1, 1, 8, 1, 1]), pos, torch.tensor([3, 1, 2]))


def report(folder: Path, out: Path) -> str:
    return write_report([folder], out, Console(file=io.StringIO())).read_text()


def test_molecules_of_a_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "diffusion")
    write_samples(folder / "samples.xyz", molecules())
    text = report(folder, tmp_path / "out")
    assert "## Sampled molecules" in text and "All samples that diffusion-seed0 drew last" in text
    assert (tmp_path / "out" / "sampled_molecules.png").read_bytes().startswith(PNG)
    assert len(read_molecules(folder / "samples.xyz")) == 2  # all but the one of NaN


def test_graphs_of_a_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "pard")
    kinds = nx.Graph([(0, 1, {"kind": 2})])
    kinds.nodes[1]["kind"] = 3
    graphs = [kinds, nx.empty_graph(1), nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(2))]
    graphs += [nx.convert_node_labels_to_integers(nx.grid_2d_graph(11, 10))] + 6 * [kinds]
    write_graphs(folder / "samples.json", graphs)
    text = report(folder, tmp_path / "out")
    assert "## Sampled graphs" in text and "The first 8 of 10 samples" in text
    assert (tmp_path / "out" / "sampled_graphs.png").read_bytes().startswith(PNG)
    again = read_graphs(folder / "samples.json")
    assert again[0].nodes(data="kind") == kinds.nodes(data="kind", default=0)
    assert again[0].edges[0, 1]["kind"] == 2


def test_runs_without_samples_have_no_picture(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "plain")
    (folder / "samples.xyz").touch()  # all samples ended in NaN
    assert "Sampled" not in report(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("samples.xyz", "2\n\nO 0 0 0\n", "samples.xyz holds no molecules"),
        ("samples.xyz", "1\nProperties=species:S:1:pos:R:3\nO nan 0 0\n", "are not finite"),
        ("samples.json", "[{", "samples.json holds no graphs"),
        ("samples.json", '[{"nodes": [0], "edges": [[0, 1, 1]]}]', "an edge joins 0 and 1 of 1"),
        ("samples.json", '[{"edges": []}]', "KeyError"),
    ],
)
def test_damaged_files_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    """Before anything is written."""
    folder = write_run(tmp_path, "damaged")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"{message}.*sample again"):
        report(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fragments_stand_beside_each_other() -> None:
    graph = nx.disjoint_union_all([nx.cycle_graph(6), nx.empty_graph(1), nx.path_graph(3)])
    places = layout(graph)
    assert set(places) == set(graph)
    spans = [
        (min(places[k][0] for k in part), max(places[k][0] for k in part))
        for part in nx.connected_components(graph)
    ]
    assert all(a[1] < b[0] for a, b in pairwise(sorted(spans)))
    lengths = [np.linalg.norm(places[i] - places[j]) for i, j in nx.cycle_graph(6).edges]
    assert max(lengths) < 1.05 * min(lengths)


def test_the_report_says_what_metrics_of_samples_are(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "pard")
    results = json.loads((folder / "results.json").read_text())
    results["metrics"] = {"test/follows": 0.9, "test/stopped": 0.1, "test/dropped": 0.0}
    (folder / "results.json").write_text(json.dumps(results))
    text = report(folder, tmp_path / "out")
    assert "Follows: share of samples whose own order of blocks is the one by which" in text
    assert "stopped: share that had too many nodes for a further block; dropped: share that" in text
    plain = report(write_run(tmp_path, "other"), tmp_path / "out")
    assert "share that" not in plain
