"""SPEN's ego nets and training steps, against loops over dense ego nets, GIN and IGN.

Protocol: a step is forward, backward and Adam's update, float32, one CPU thread, medians of
interleaved runs. Loops: 4 layers of width 16 on 8 graphs of MUTAG, the plan made in every step, and
the same function by loops over ego nets, dense tensors of each, and dictionaries of pairs. GIN: 4
layers each on 32 graphs of PROTEINS, plans made before. Memory: peak resident size of one forward
and backward in a fresh process beyond that after a step on a tiny graph; 4 layers of width 32, one
graph of PROTEINS of about that many nodes, SPEN and IGN with equal numbers of parameters. Large:
the same on a ring of 100 000 nodes, each joined to the four nearest.

    python benchmarks/speed/spen.py [rounds]
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, interleaved, peak_memory
from benchmarks.peers.spen_dense import DenseSPEN
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.data import GraphData
from geqlib.models import IGN, SPEN, MessagePassingNet

NODES = (25, 50, 100, 200, 350, 500)
LARGE = 100_000
WIDTHS = (16, 64)
LOOPS, OURS = "loops over dense ego nets", "geqlib"
KINDS: dict[str, Callable[..., nn.Module]] = {
    "SPEN": SPEN,
    "SPEN, symmetric": lambda *a, **k: SPEN(*a, symmetric=True, **k),
    "IGN": IGN,
}


def main() -> None:
    torch.set_num_threads(1)
    if "--memory" in sys.argv:
        kind, nodes = sys.argv[2:]
        sys.stdout.write(json.dumps(memory(kind, int(nodes))) + "\n")
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    mutag = against_loops(max(rounds // 5, 2))
    steps = {width: against_gin(width, rounds) for width in WIDTHS}
    curve = {
        kind: {n: in_own_process(__file__, "--memory", kind, str(n)) for n in NODES}
        for kind in KINDS
    }
    large = {
        kind: in_own_process(__file__, "--memory", kind, str(LARGE))
        for kind in KINDS
        if kind != "IGN"
    }
    tables = [step_table(steps), memory_table(curve), loops_table(mutag), large_table(large)]
    publish(measured("speed/spen", __doc__, tables))


def origin(name: str) -> Any:
    return "geqlib" if name.startswith(("SPEN", OURS)) else "peer"


def step_table(steps: dict[int, dict[str, float]]) -> Table:
    """Training steps beside those of GIN."""
    columns = []
    for width in steps:
        columns.append(Column(f"{width}", f"width {width}", "ms", ".1f", 1e3))
        columns.append(Column(f"{width}, ratio", "times GIN", "", ".1f"))
    rows = []
    for name in next(iter(steps.values())):
        cells: dict[str, Cell] = {}
        for width, seconds in steps.items():
            cells[f"{width}"] = seconds[name]
            cells[f"{width}, ratio"] = seconds[name] / seconds["GIN"]
        rows.append(Row((name,), cells, origin(name)))
    head = "a training step on 32 graphs of PROTEINS"
    return Table((head,), tuple(columns), tuple(rows), f"{max(steps)}")


def memory_table(curve: dict[str, dict[int, dict[str, float]]]) -> Table:
    """Peak memory by nodes of a graph."""
    sizes = [peak["nodes"] for peak in curve["IGN"].values()]
    columns = tuple(Column(f"{n} nodes", f"{n} nodes", "MiB", ".0f") for n in sizes)
    rows = []
    for name, of_kind in curve.items():
        cells: dict[str, Cell] = {}
        for peak in of_kind.values():
            cells[f"{peak['nodes']} nodes"] = peak["mib"]
            cells[f"{peak['nodes']} nodes, seconds"] = peak["seconds"]
        rows.append(Row((name,), cells, origin(name)))
    head = "peak memory of forward and backward"
    return Table((head,), columns, tuple(rows), columns[-1].key)


def loops_table(seconds: dict[str, float]) -> Table:
    columns = (
        Column("seconds", "time", "ms", ".0f", 1e3),
        Column("ratio", "times geqlib's", "", ".0f"),
    )
    rows = tuple(
        Row((name,), {"seconds": time, "ratio": time / seconds[OURS]}, origin(name))
        for name, time in seconds.items()
    )
    return Table(("plan and training step, 8 graphs of MUTAG",), columns, rows, "seconds")


def large_table(large: dict[str, dict[str, float]]) -> Table:
    columns = (
        Column("mib", "peak memory", "GiB", ".1f", 1 / 1024),
        Column("seconds", "time with the plan", "s", ".0f"),
    )
    rows = tuple(
        Row((name,), {"mib": peak["mib"], "seconds": peak["seconds"]})
        for name, peak in large.items()
    )
    return Table((f"forward and backward of a graph of {LARGE} nodes",), columns, rows, "mib")


def graphs(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*graphs are in no test fold")
        data = GraphData(name, validation=0.0)
        data.setup()
    return data.splits["train"]


def trained(model: nn.Module, run: Callable[[], Tensor], y: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(run(), y).backward()
        optimizer.step()

    return step


def against_loops(rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    data = graphs("MUTAG")
    batch: Any = data.__getitems__(range(8))
    single: Any = [data[k] for k in range(8)]
    model = SPEN(7, 2, channels=16, layers=4)
    dense = DenseSPEN(model)

    def loops() -> Tensor:
        graphs = [dense.known(g.x, g.edge_index) for g in single]
        return model._head([torch.cat(graphs)], batch.batch, 8)

    def ours() -> Tensor:
        return model(batch.x, batch.edge_index, batch=batch.batch, num_graphs=8)

    runs = {OURS: trained(model, ours, batch.y), LOOPS: trained(model, loops, batch.y)}
    return interleaved(runs, rounds)


def against_gin(width: int, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    batch: Any = graphs("PROTEINS").__getitems__(range(0, 960, 30))
    inputs = (batch.x, batch.edge_index, batch.batch, 32)
    size: dict[str, Any] = {"channels": width, "layers": 4}
    gin = MessagePassingNet(3, 2, **size)
    runs = {"GIN": trained(gin, lambda: gin(*inputs), batch.y)}
    for name, build in KINDS.items():
        if name == "IGN":
            continue
        model: Any = build(3, 2, **size)
        plan = model.plan(batch.edge_index, len(batch.x))
        options = {"batch": batch.batch, "num_graphs": 32, "plan": plan}
        runs[name] = trained(model, _call(model, batch, options), batch.y)
    return interleaved(runs, rounds)


def _call(model: nn.Module, batch: Any, options: dict[str, Any]) -> Callable[[], Tensor]:
    return lambda: model(batch.x, batch.edge_index, **options)


def memory(kind: str, nodes: int) -> dict[str, float]:
    """Peak MiB, seconds and nodes of one forward and backward."""
    torch.manual_seed(0)
    model = KINDS[kind](3, 2, channels=32, layers=4)
    if nodes > max(NODES):
        ring = torch.arange(nodes)
        edges = torch.cat([torch.stack([ring, (ring + d) % nodes]) for d in (1, -1, 2, -2)], 1)
        x = torch.eye(3)[ring % 3]
    else:
        data = graphs("PROTEINS")
        graph: Any = data[int((data.counts["node"] - nodes).abs().argmin())]
        x, edges = graph.x, graph.edge_index

    def step(x: Tensor, edges: Tensor) -> None:
        model(x, edges).sum().backward()

    step(x[:5], edges[:, :0])
    start = time.perf_counter()
    mib = peak_memory(lambda: step(x, edges))
    return {"mib": mib, "seconds": time.perf_counter() - start, "nodes": len(x)}


if __name__ == "__main__":
    start(main)
