"""The benchmarks of soft orders: their tables on few sets and few graphs."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

from benchmarks.accuracy import separation, soft_orders, soft_separation
from geqlib.data.graphs.expressivity import plain


def test_soft_orders_are_invariant_and_continuous_and_others_are_not() -> None:
    actual = soft_orders.table(ties=200, shuffles=40)
    for nodes in ("8", "16"):
        for name in ("SoftSort", "Sinkhorn"):
            row = actual.row(nodes, name)
            assert row.number("shuffled most") < 1e-12 and row.number("jump") < 1e-6
        assert actual.row(nodes, "odd-even").number("shuffled") > 0.05
        assert actual.row(nodes, "odd-even, sorted first").number("shuffled most") < 1e-12
        assert actual.row(nodes, "odd-even, sorted first").number("jump") > 0.01
        assert actual.row(nodes, "hard").number("jump") == 1
        assert actual.row(nodes, "Sinkhorn").number("lowest") == pytest.approx(1, abs=1e-9)


def read(name: str) -> tuple[list[Any], Any]:
    """A cycle and two triangles, which colour refinement takes for one; paths and stars."""
    pair = [nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))]
    graphs = [plain(graph) for graph in (*pair, nx.path_graph(6), nx.star_graph(5)) * 3]
    if name == "graph8c":
        return graphs, None
    marked = np.arange(6) // 5  # one node is of another kind
    return [replace(graph, kind=marked) for graph in graphs], [(0, 1), (2, 3)]


def test_a_few_graphs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in (separation, soft_separation):
        monkeypatch.setattr(module, "read", read)
    splits = {"train": slice(4, 12), "val": slice(0, 4), "test": slice(0, 4)}
    monkeypatch.setattr(separation, "SPLIT", splits)
    options = ["--graphs", "4", "--epochs", "1", "--seeds", "1", "--most", "1"]
    monkeypatch.setattr(sys, "argv", ["soft_separation.py", *options])
    soft_separation.main()
    lines = capsys.readouterr().out.splitlines()
    for model in soft_separation.MODELS:
        (line,) = [line for line in lines if f"| {model} " in line or f"**{model}**" in line]
        counts = [cell.strip() for cell in line.split("|")[2:-1]]
        assert counts[1] == counts[3] == "0"  # no copy is taken for another graph
