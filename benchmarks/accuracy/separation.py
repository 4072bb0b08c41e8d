"""Which graphs do averages over node orders distinguish, and do they learn to?

Protocol: graph8c (all pairs of the 11 117 connected graphs of 8 nodes) and EXP (600 pairs). After
Puny et al. (ICLR 2022): untrained networks with tanh and 10 outputs, in float64; two graphs are
alike if the L1 distance of their outputs is at most 1e-3 for every seed; seeds are drawn until no
pair is alike, at most 100. Beyond that, every graph is compared with a relabelled copy of itself
for the same seeds: "copies apart" counts those that are not alike. FA rows have canonical orders,
GA rows random ones. EXP classification: graphs 400 to 1199 for training, the first 200 for
validation, the next 200 for testing, Adam with learning rate 0.001, batches of 100 that are drawn
once, {epochs} epochs, the one of lowest validation loss is tested; {seeds} seeds.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/separation.py [--epochs 40] [--seeds 3]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from rich.progress import track
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured, over
from benchmarks.tables import publish
from geqlib.data.download import find_file
from geqlib.data.graphs.expressivity import PlainGraph, graph_pairs, plain
from geqlib.frames.copies import FrameCopies
from geqlib.frames.graph_networks import FAGIN, FAMLP
from geqlib.graph.pairs import PairPlan

ALIKE, MOST, OUT = 1e-3, 100, 10
Network = FAMLP | FAGIN
MODELS: dict[str, tuple[type[FAMLP] | type[FAGIN], str]] = {
    "FA-MLP": (FAMLP, "canonical"),
    "FA-GIN+ID": (FAGIN, "canonical"),
    "GA-MLP": (FAMLP, "random"),
    "GA-GIN+ID": (FAGIN, "random"),
}
SPLIT = {"train": slice(400, 1200), "val": slice(0, 200), "test": slice(200, 400)}
EPOCHS, SEEDS = 40, 3  # by default
SETS = ("graph8c", "EXP")
COLUMNS = (
    Column("graph8c, alike", "graph8c alike"),
    Column("graph8c, copies_apart", "copies apart"),
    Column("EXP, alike", "EXP alike"),
    Column("EXP, copies_apart", "copies apart"),
    Column("accuracy", "EXP test accuracy", "%", ".1f", 100),
)


@dataclass(frozen=True)
class Joined:
    """Graphs as one batch, with their canonical orders if there are any."""

    x: Tensor
    edge_index: Tensor
    batch: Tensor
    count: int
    plan: FrameCopies | PairPlan | None = None

    def planned(self, net: Network) -> Joined:
        with torch.no_grad():
            plan = net.plan(self.x, self.edge_index, self.batch, self.count)
        return Joined(self.x, self.edge_index, self.batch, self.count, plan)

    def seen_by(self, net: Network) -> Tensor:
        return net(self.x, self.edge_index, self.batch, self.count, self.plan)


def joined(graphs: Sequence[PlainGraph], kinds: int, dtype: torch.dtype = torch.float64) -> Joined:
    nodes = np.array([len(graph.kind) for graph in graphs])
    ends = nodes.cumsum() - nodes
    edges = np.concatenate([g.edge_index + k for g, k in zip(graphs, ends, strict=True)], 1)
    kind = torch.from_numpy(np.concatenate([graph.kind for graph in graphs]))
    batch = torch.from_numpy(np.arange(len(graphs)).repeat(nodes))
    return Joined(torch.eye(kinds, dtype=dtype)[kind], torch.from_numpy(edges), batch, len(graphs))


def read(name: str) -> tuple[list[PlainGraph], list[tuple[int, int]] | None]:
    """Graphs and pairs; None for all pairs."""
    if name == "EXP":
        exp = graph_pairs("EXP")
        return list(exp.graphs), list(exp.pairs)
    file = find_file("expressivity/graph8c.g6")
    if file is None:
        raise ValueError("There is no expressivity/graph8c.g6 below GEQLIB_DATA: put it there.")
    return [plain(nx.from_graph6_bytes(line)) for line in file.read_bytes().split()], None


def separation(
    graphs: Sequence[PlainGraph],
    pairs: Sequence[tuple[int, int]] | None,
    models: Mapping[str, Callable[[], Network]],
    part: int = 1000,
    most: int = MOST,
) -> dict[str, dict[str, Any]]:
    """For each model: pairs that stay alike, copies that do not, seeds, and copies' differences.

    Networks in canonical orders, whose names begin with "FA", share these.
    """
    rng = np.random.default_rng(0)
    kinds = 1 + max(int(graph.kind.max()) for graph in graphs)
    sides = (graphs, [graph.relabelled(rng) for graph in graphs])
    starts = range(0, len(graphs), part)
    both = [[joined(side[k : k + part], kinds) for k in starts] for side in sides]
    order = next(build() for name, build in models.items() if name.startswith("FA"))
    labelled = [[b.planned(order) for b in track(side, "labelling")] for side in both]
    return {
        name: _separated(build, labelled if name.startswith("FA") else both, pairs, most)
        for name, build in models.items()
    }


@torch.no_grad()
def _separated(
    build: Callable[[], Network],
    batches: list[list[Joined]],
    pairs: Sequence[tuple[int, int]] | None,
    most: int,
) -> dict[str, Any]:
    left = None if pairs is None else np.array(pairs)
    apart, largest, seed = None, 0.0, 0
    while seed < most and (left is None or len(left)):
        torch.manual_seed(seed)
        net = build().double()
        one, copy = (torch.cat([b.seen_by(net) for b in side]).numpy() for side in batches)
        if left is None:
            left = cKDTree(one).query_pairs(ALIKE, p=1, output_type="ndarray")
        else:
            left = left[np.abs(one[left[:, 0]] - one[left[:, 1]]).sum(1) <= ALIKE]
        distance = np.abs(one - copy).sum(1)
        apart = (distance > ALIKE) | (False if apart is None else apart)
        largest, seed = max(largest, float(distance.max())), seed + 1
    copies = 0 if apart is None else int(apart.sum())
    alike = 0 if left is None else len(left)
    return {"alike": alike, "copies_apart": copies, "seeds": seed, "copies_differ": largest}


Batches = dict[str, list[tuple[Joined, Tensor]]]


def labelled_batches(net: Network, size: int = 100, graphs: int | None = None) -> Batches:
    """EXP by split, in batches with their canonical orders, or the pairs of nodes of soft ones.

    Args:
        net: whose plans these are.
        size: of batches.
        graphs: how many of each split; None for all.
    """
    every, _ = read("EXP")
    truth = (torch.arange(len(every)) % 2).float()  # the graphs of a pair have unlike labels
    batches: Batches = {}
    for split, part_of in SPLIT.items():
        numbers = torch.arange(len(every))[part_of][:graphs]
        numbers = numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))]
        batches[split] = [
            (joined([every[k] for k in part], 2, torch.float32).planned(net), truth[part])
            for part in track(numbers.split(size), f"labelling, {split}")
        ]
    return batches


def classification(build: Callable[[], Network], batches: Batches, seed: int, epochs: int) -> float:
    """Accuracy on the test graphs."""
    torch.manual_seed(seed)
    net = build()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    lowest, accuracy = float("inf"), 0.0
    for _ in track(range(epochs), f"EXP, seed {seed}"):
        for k in torch.randperm(len(batches["train"])).tolist():
            graphs, target = batches["train"][k]
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(graphs.seen_by(net)[:, 0], target).backward()
            optimizer.step()
        loss, _ = _scores(net, batches["val"])
        if loss < lowest:
            lowest, (_, accuracy) = loss, _scores(net, batches["test"])
    return accuracy


@torch.no_grad()
def _scores(net: Network, batches: Sequence[tuple[Joined, Tensor]]) -> tuple[float, float]:
    """Loss and accuracy."""
    out = torch.cat([graphs.seen_by(net)[:, 0] for graphs, _ in batches])
    target = torch.cat([truth for _, truth in batches])
    loss = binary_cross_entropy_with_logits(out, target)
    return float(loss), float(((out > 0) == (target > 0.5)).float().mean())


def builders(name: str, out: int, act: str, **more: Any) -> dict[str, Callable[[], Network]]:
    """Networks for the graphs of a set."""
    kinds, nodes = (1, 8) if name == "graph8c" else (2, 73)

    def builder(model: str) -> Callable[[], Network]:
        kind, orders = MODELS[model]
        return lambda: kind(kinds, out, max_nodes=nodes, act=act, orders=orders, **more)  # type: ignore[arg-type]

    return {model: builder(model) for model in MODELS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    command = parser.parse_args()
    cells: dict[str, dict[str, Cell]] = {name: {} for name in MODELS}
    for name in SETS:
        for model, counts in separation(*read(name), builders(name, OUT, "tanh")).items():
            cells[model] |= {f"{name}, {key}": count for key, count in counts.items()}
    networks = builders("EXP", 1, "relu")
    batches = labelled_batches(networks["FA-MLP"]())
    for model in [m for m in MODELS if m.startswith("FA")]:
        seeds = range(command.seeds)
        accuracies = [classification(networks[model], batches, s, command.epochs) for s in seeds]
        cells[model]["accuracy"] = over(accuracies)
    table = compared([Row((model,), of_model) for model, of_model in cells.items()])
    publish(measured("accuracy/separation", __doc__, [table], vars(command)))


def compared(rows: list[Row]) -> Table:
    return Table(("",), COLUMNS, tuple(rows), "accuracy")


if __name__ == "__main__":
    start(main)
