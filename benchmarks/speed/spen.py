"""SPEN's ego nets and training steps, against loops over dense ego nets, GIN and IGN.

Protocol: a step is forward, backward and Adam's update, float32, one CPU thread, medians of
interleaved runs. Loops: 4 layers of width 16 on 8 graphs of MUTAG, the plan made in every step, and
the same function by loops over ego nets, dense tensors of each, and dictionaries of pairs. GIN: 4
layers each on 32 graphs of PROTEINS, plans made before. Memory: peak resident size of one forward
and backward in a fresh process beyond that after a step on a tiny graph; 4 layers of width 32, one
graph of PROTEINS of about so many nodes, SPEN and IGN with equal numbers of parameters. Large: the
same on a ring of 100 000 nodes, each joined to the four nearest.

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
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import in_own_process, interleaved, peak_memory, write_result
from benchmarks.peers.spen_dense import DenseSPEN
from benchmarks.training import show
from geqlib.data import GraphData
from geqlib.models import IGN, SPEN, MessagePassingNet

NODES = (25, 50, 100, 200, 350, 500)
LARGE = 100_000
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
    steps = {width: against_gin(width, rounds) for width in (16, 64)}
    curve = {
        kind: {n: in_own_process(__file__, "--memory", kind, str(n)) for n in NODES}
        for kind in KINDS
    }
    large = {
        kind: in_own_process(__file__, "--memory", kind, str(LARGE))
        for kind in KINDS
        if kind != "IGN"
    }
    report(mutag, steps, curve, large)
    protocol = " ".join((__doc__ or "").split("\n\n")[1].split())
    result = {"protocol": protocol, "mutag_seconds": mutag, "proteins_seconds": steps}
    path = write_result("speed/spen", result | {"memory": curve, "large": large})
    sys.stdout.write(f"wrote {path}\n")


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
        known = [dense.known(g.x, g.edge_index) for g in single]
        return model._head([torch.cat(known)], batch.batch, 8)

    def ours() -> Tensor:
        return model(batch.x, batch.edge_index, batch=batch.batch, num_graphs=8)

    runs = {OURS: trained(model, ours, batch.y), LOOPS: trained(model, loops, batch.y)}
    return interleaved(runs, rounds)


def against_gin(width: int, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    batch: Any = graphs("PROTEINS").__getitems__(range(0, 960, 30))
    given = (batch.x, batch.edge_index, batch.batch, 32)
    size: dict[str, Any] = {"channels": width, "layers": 4}
    gin = MessagePassingNet(3, 2, **size)
    runs = {"GIN": trained(gin, lambda: gin(*given), batch.y)}
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
        graph: Any = data[int((data.count["node"] - nodes).abs().argmin())]
        x, edges = graph.x, graph.edge_index

    def step(x: Tensor, edges: Tensor) -> None:
        model(x, edges).sum().backward()

    step(x[:5], edges[:, :0])
    start = time.perf_counter()
    mib = peak_memory(lambda: step(x, edges))
    return {"mib": mib, "seconds": time.perf_counter() - start, "nodes": len(x)}


def report(mutag: Any, steps: Any, curve: Any, large: Any) -> None:
    show(
        "Plan and training step, 8 graphs of MUTAG",
        ("", "ms", "ratio"),
        [(name, 1e3 * s, s / mutag[OURS]) for name, s in mutag.items()],
    )
    show(
        "Training step, 32 graphs of PROTEINS, ms (of GIN)",
        ("", *(f"width {width}" for width in steps)),
        [
            (name, *(f"{1e3 * s[name]:.1f} ({s[name] / s['GIN']:.1f})" for s in steps.values()))
            for name in ("GIN", *(k for k in KINDS if k != "IGN"))
        ],
    )
    show(
        "Peak MiB by nodes of a graph",
        ("", *(f"{found['nodes']}" for found in curve["IGN"].values())),
        [(kind, *(found["mib"] for found in row.values())) for kind, row in curve.items()],
    )
    for kind, found in large.items():
        Console().print(_large(kind, found))


def table(found: dict[str, Any]) -> str:
    mutag, steps, curve = (found[k] for k in ("mutag_seconds", "proteins_seconds", "memory"))
    gin = {width: seconds["GIN"] for width, seconds in steps.items()}
    rows: list[tuple[object, ...]] = [
        (name, *(f"{s[name] / gin[width]:.1f}" for width, s in steps.items()))
        for name in curve
        if name != "IGN"
    ]
    head = ("a training step on 32 graphs of PROTEINS, times that of GIN",)
    nodes = [f"{peak['nodes']} nodes" for peak in curve["IGN"].values()]
    peaks = [(kind, *(f"{p['mib']:.0f}" for p in row.values())) for kind, row in curve.items()]
    large = " ".join(f"{_large(kind, peak)}." for kind, peak in found["large"].items())
    return (
        markdown((*head, *(f"width {width}" for width in steps)), rows)
        + "\n"
        + markdown(("peak MiB of forward and backward", *nodes), peaks)
        + f"\nPlan and training step on 8 graphs of MUTAG: {mutag[LOOPS] / mutag[OURS]:.0f} times "
        f"faster than {LOOPS}. {large}\n"
    )


def _large(kind: str, found: dict[str, float]) -> str:
    return (
        f"{kind} on a graph of {found['nodes']} nodes: {found['mib'] / 1024:.1f} GiB, "
        f"{found['seconds']:.0f} s with the plan"
    )


if __name__ == "__main__":
    main()
