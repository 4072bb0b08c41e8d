"""The benchmark of generated graphs: what counts as right, and a whole row of a tiny run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from benchmarks import rows as rows_module
from benchmarks.accuracy import graph_generation
from benchmarks.accuracy.graph_generation import is_grid, is_planar
from benchmarks.rows import Result, Row, to_json
from tests.data.graphs.raw_graphs import star, write_generated


@pytest.mark.parametrize(("a", "b"), [(2, 2), (2, 7), (5, 5), (3, 4)])
def test_grids_are_grids(a: int, b: int) -> None:
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(a, b))
    assert is_grid(grid) and is_planar(grid)
    swapped = nx.double_edge_swap(grid.copy(), 1, seed=0) if len(grid) > 6 else grid
    assert is_grid(swapped) == nx.is_isomorphic(swapped, grid)
    grid.remove_edge(0, 1)
    assert not is_grid(grid)


def test_what_is_no_grid_or_not_planar() -> None:
    others = [nx.empty_graph(0), nx.empty_graph(4), nx.path_graph(4), nx.complete_graph(5)]
    assert not any(map(is_grid, others))
    assert [is_planar(graph) for graph in others] == [False, False, True, False]


def test_rows_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are read where they were drawn before, and no run is trained for them."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setattr(graph_generation, "RUNS", tmp_path / "runs")
    graphs = [nx.cycle_graph(4), star(5)] * 10
    write_generated(tmp_path, "ego_small", graphs)

    def fitted(folder: Path, config: Path, options: dict[str, Any], seed: int) -> Path:
        folder.mkdir(parents=True)
        graph = {"nodes": 4, "edges": list(nx.cycle_graph(4).edges())}
        content = [graph | {"follows": True, "stopped": False}] * 4
        for seed in range(graph_generation.SEEDS):
            (folder / f"drawn-{seed}.json").write_text(json.dumps(content))
        (folder / "fit.json").write_text(json.dumps({"steps": 7}))
        shown.append(options)
        return folder

    def timed(name: str, runs: dict[str, Any]) -> dict[str, dict[str, float]]:
        seconds = dict(zip(runs, (0.5, 1.0, 0.25), strict=True))
        return {key: {"step": step, "steps_an_epoch": 2} for key, step in seconds.items()}

    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(graph_generation, "fitted", fitted)
    monkeypatch.setattr(graph_generation, "step_seconds", timed)
    rows = list(graph_generation.rows_of("ego_small", 3))
    assert [row.labels[1] for row in rows] == ["training graphs", "PARD, K = 0", "PARD, K = 1",
                                               "PARD, K = 3"]  # fmt: skip
    assert rows[0].number("degree") < 0.2 < rows[1].number("degree")
    assert rows[1].number("follows") == 100 and rows[1].setup == "7 training steps"
    # equal steps of training, those of the slowest; equal steps of diffusion in all
    assert {options["trainer.max_epochs"] for options in shown} == {88}
    assert {options["trainer.check_val_every_n_epoch"] for options in shown} == {4}
    total = [row.number("blocks") * row.number("diffusion") for row in rows[1:]]
    assert rows[1].number("blocks") == 1 and rows[2].number("blocks") > 1
    assert all(abs(steps - total[1]) <= row.number("blocks") / 2 + 1e-9
               for steps, row in zip(total, rows[1:], strict=True))  # fmt: skip


def test_what_ended_in_nan_is_a_failure() -> None:
    """Of every share; without any sample there are no discrepancies."""
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(2, 3))
    grid.graph |= {"follows": True, "stopped": True}
    reference = graph_generation.as_batch([nx.cycle_graph(4)])
    cells = graph_generation.judged("grid", [grid], reference, 4)
    shares = {"follows": 25, "stopped": 25, "dropped": 75, "right": 25}
    assert {name: cells[name] for name in shares} == shares and "degree" in cells
    none = graph_generation.judged("grid", [], reference, 4)
    assert none == {"follows": 0, "stopped": 0, "dropped": 100, "right": 0}
    again = graph_generation.from_lists(graph_generation.as_lists(grid))
    assert nx.is_isomorphic(again, grid) and again.graph == grid.graph


def test_rows_are_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set by set, with those of an earlier result."""
    monkeypatch.setattr(rows_module, "RESULTS", tmp_path)
    first = Row(("grid", "PARD, K = 1"), {"degree": 0.1}, stamp="now")
    table = replace(graph_generation.compared([first]), rows=graph_generation.ordered([first]))
    path = tmp_path / f"{graph_generation.NAME}.json"
    path.parent.mkdir()
    path.write_text(to_json(Result(graph_generation.NAME, "", "", (table,))))
    second = Row(("ego_small", "PARD, K = 0"), {"degree": 0.2}, stamp="now")
    names = [row.labels for row in graph_generation.ordered([second])]
    assert names[:3] == [("community_small", model) for model in ("GraphRNN", "EDP-GNN", "GDSS")]
    assert names[3] == ("ego_small", "PARD, K = 0") and ("grid", "PARD, K = 1") in names
    assert len(names) == len(set(names)) == 2 + 9
