"""What SO(2) and SO(3) cost on labels that only turns about the z axis leave as they are.

Protocol: clouds of {points} Gaussian points in space; the label is the mean over points of
z^2 - (x^2 + y^2) / 2, standardised over the training set: it has the symmetry SO(2), and of all
functions that SO(3) leaves invariant a constant is nearest to it, with a squared error of 1. The
network, a mean over points of two layers of 32 and a linear map, has no symmetry but that of
relabelling. {train} clouds to train on, batches of {batch_size}, Adam at {rate}, {seconds} seconds
of processor time for each method: plain training, training on random elements (augmentation),
a fixed weight of 1 on the loss of a random element, and InvarianceConstraint with eps = {eps}
and one step of Metropolis-Hastings. Test errors are of {test} clouds: as they are, the mean and
the largest of {turns} random elements each. Seeds {seeds}. "Half way" is the dual variable after
half of the steps. On SO(3) no weights keep eps.

    python benchmarks/accuracy/price_of_symmetry.py [--seconds 8] [--seeds 0 1 2]
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.pictures import draw_curves
from benchmarks.provenance import start
from benchmarks.rows import Column, Curve, Row, Table, Value, measured, over
from benchmarks.tables import publish
from geqlib.symmetry.groups import parse_group
from geqlib.train import InvarianceConstraint, Task

NAME = "accuracy/price_of_symmetry"
SEEDS, SECONDS = (0, 1, 2), 8.0
POINTS, TRAIN, TEST, BATCH_SIZE, TURNS = 5, 128, 256, 64, 32
RATE, DUAL_RATE, EPS = 3e-3, 1e-2, 0.1
GROUPS = ("SO(2)", "SO(3)")
PLAIN, AUGMENTED, FIXED, CONSTRAINED = "plain", "augmentation", "fixed weight 1", "constraint"
METHODS = (PLAIN, AUGMENTED, FIXED, CONSTRAINED)
MEASURES = ("clean", "mean", "worst")
COLUMNS = (
    Column("clean", "test error", "", ".4f"),
    Column("mean", "mean of turned", "", ".4f"),
    Column("worst", "largest of turned", "", ".4f"),
    Column("half", "dual variable, half way", "", ".2f"),
    Column("dual", "dual variable", "", ".2f"),
    Column("steps", "steps", "", ".0f"),
)


class Height(Task):
    """The squared error of a standardised label of each cloud."""

    inputs: ClassVar = {"pos": "point", "batch": "batch"}
    outputs: ClassVar = {"y": "graph:scalar"}

    def graph_losses(self, batch: Any) -> Tensor:
        return (self.model(batch.pos, batch.num_graphs) - batch.y).square()

    def loss(self, batch: Any) -> Tensor:
        return self.graph_losses(batch).mean()


class Clouds(nn.Module):
    """A mean over points, with no symmetry of space."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
        self.head = nn.Linear(32, 1)

    def forward(self, pos: Tensor, graphs: int) -> Tensor:
        return self.head(self.points(pos).view(graphs, -1, 32).mean(1))[:, 0]


def clouds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [count, points, 3] and raw labels [count]."""
    pos = torch.randn(count, POINTS, 3, generator=torch.Generator().manual_seed(seed))
    return pos, (pos[..., 2].square() - pos[..., :2].square().sum(-1) / 2).mean(1)


def batch_of(pos: Tensor, y: Tensor) -> Batch:
    count = len(pos)
    batch = Batch(
        pos=pos.flatten(0, 1), y=y, batch=torch.arange(count).repeat_interleave(pos.size(1))
    )
    batch._num_graphs = count
    return batch


def trained(method: str, group: str, seed: int, seconds: float) -> tuple[Task, list[float]]:
    """The task, and the dual variable after each step."""
    torch.manual_seed(seed)
    pos, y = clouds(TRAIN, 2 * seed)
    y = (y - y.mean()) / y.std()
    task = Height(Clouds(), rotate=group if method == AUGMENTED else False)
    constraint = InvarianceConstraint(
        group, EPS, dual_lr=DUAL_RATE, steps=int(method == CONSTRAINED), bound=1e9
    )
    optimiser, duals = torch.optim.Adam(task.parameters(), lr=RATE), []
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        for numbers in torch.randperm(TRAIN).split(BATCH_SIZE):
            batch = task.augmented(batch_of(pos[numbers], y[numbers]))
            loss = task.loss(batch)
            if method in (FIXED, CONSTRAINED):
                constraint.dual = constraint.dual if method == CONSTRAINED else 1.0
                loss = loss + constraint.penalty(task, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            duals.append(constraint.dual)
    return task, duals


@torch.no_grad()
def tested(task: Task, group: str, seed: int) -> dict[str, float]:
    """Errors of test clouds as they are, and the mean and the largest over random elements."""
    torch.manual_seed(seed)
    _, reference = clouds(TRAIN, 2 * seed)
    pos, y = clouds(TEST, 2 * seed + 1)
    batch = batch_of(pos, (y - reference.mean()) / reference.std())
    symmetry, losses = parse_group(group), []
    for _ in range(TURNS):
        turned = task.transformed(batch, task.random_elements(batch, symmetry))
        losses.append(task.graph_losses(turned))
    every = torch.stack([loss for loss in losses if loss is not None])
    clean = float(task.loss(batch))
    return {"clean": clean, "mean": float(every.mean()), "worst": float(every.amax(0).mean())}


def row(method: str, group: str, seeds: Sequence[int], seconds: float) -> Row:
    numbers: dict[str, list[float]] = {}
    curves: list[list[float]] = []
    for seed in seeds:
        task, duals = trained(method, group, seed, seconds)
        cells = tested(task, group, seed) | {"steps": float(len(duals))}
        if method == CONSTRAINED:
            cells |= {"half": duals[len(duals) // 2], "dual": duals[-1]}
            curves.append(duals)
        for name, value in cells.items():
            numbers.setdefault(name, []).append(value)
    means: dict[str, Value] = {name: over(values) for name, values in numbers.items()}
    named = {"dual": curve(curves)} if curves else {}
    return Row((group, method), means, setup=f"{len(seeds)} seeds", curves=named)


def curve(duals: Sequence[Sequence[float]], points: int = 50) -> Curve:
    """The mean over seeds of the dual variable, against the share of the time."""
    shares = [k / (points - 1) for k in range(points)]
    values = [[one[round(share * (len(one) - 1))] for one in duals] for share in shares]
    return tuple((share, sum(v) / len(v)) for share, v in zip(shares, values, strict=True))


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(m, g, options.seeds, options.seconds) for g in GROUPS for m in METHODS]
    drawn = [Row(r.labels[:1], r.cells, curves=r.curves) for r in rows if r.curves]
    figure = draw_curves(
        drawn,
        "dual",
        title="The price of a symmetry",
        x="share of the training time",
        y=f"dual variable, eps = {EPS}",
        logarithmic=False,
    )
    note = "Errors are in units of the variance of the label."
    table = Table(("group", "method"), COLUMNS, tuple(rows), "mean", note=note)
    picture = "The dual variable of SO(2) returns to 0, that of SO(3) grows without bound"
    settings = {"seconds": options.seconds, "seeds": tuple(options.seeds)}
    publish(
        measured("accuracy/price_of_symmetry", __doc__, [table], settings, picture=picture), figure
    )


if __name__ == "__main__":
    start(main)
