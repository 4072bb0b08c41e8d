"""Clebsch-Gordan and Gaunt products in one network: charged 5-body, a SEGNN-like model.

Protocol: the data of configs/nbody_ponita.yaml (3000 simulations for training, 2000 for the test,
frame 30 to frame 40); the network of benchmarks/peers/segnn.py with features and attributes to
degree 1 or 2, Clebsch-Gordan products by e3nn's `FullyConnectedTensorProduct`, with a matrix over
channels for every path, or Gaunt products between maps of the channels, all else equal; {channels}
channels, {layers} layers, Adam with learning rate {lr}, cosine decay to zero, gradients clipped to
norm 1, batches of {batch}, {epochs} epochs, {seeds} seeds; the network of the last epoch is tested.
That is a small network trained for a short time, the same for all. Time is processor time of one
thread. Finished runs stay in runs/nbody_products, and the table is written after each seed.

    python benchmarks/accuracy/nbody_products.py [EPOCHS] [SEEDS]
"""

from __future__ import annotations

import math
import sys
import time
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.segnn import Kind, SteerableGNN
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured, over
from benchmarks.tables import publish
from benchmarks.training import finished, measured_by
from geqlib.data import NBodyData

KINDS: tuple[Kind, ...] = ("clebsch-gordan", "gaunt")
DEGREES = (1, 2)
EPOCHS, SEEDS = 10, 2  # by default
CHANNELS, LAYERS, BATCH, LR = 16, 3, 50, 5e-3
COLUMNS = (
    Column("mse", "test MSE", "", ".4f"),
    Column("step", "time per step", "ms", ".0f", 1e3),
    Column("parameters", "parameters"),
)
PRODUCTS = {"clebsch-gordan": "Clebsch-Gordan", "gaunt": "Gaunt"}


def read() -> NBodyData:
    data = NBodyData(BATCH, charge_products=True)
    data.prepare_data()
    data.setup()
    return data


def loss(net: SteerableGNN, batch: Any) -> Tensor:
    graphs = int(batch.num_graphs)
    centre = batch.pos.new_zeros(graphs, 3).index_add(0, batch.batch, batch.pos)
    centre = centre / torch.bincount(batch.batch, minlength=graphs).unsqueeze(1)
    moved = net(batch.pos, batch.vec, batch.edge_index, batch.edge_attr, centre[batch.batch])
    return (batch.pos + moved - batch.y).square().mean()


def error(net: SteerableGNN, part: Any) -> float:
    with torch.no_grad():
        pieces = torch.arange(len(part)).split(500)
        total = sum(loss(net, part.__getitems__(k.tolist())).item() * len(k) for k in pieces)
    return total / len(part)


def train(data: NBodyData, kind: Kind, degree: int, epochs: int, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    net = SteerableGNN(kind, channels=CHANNELS, degree=degree, layers=LAYERS)
    part = data.splits["train"]
    steps = epochs * math.ceil(len(part) / BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    seconds = 0.0
    for _ in track(range(epochs), f"{kind}, degree {degree}, seed {seed}"):
        start = time.process_time()
        for rows in torch.randperm(len(part)).split(BATCH):
            optimizer.zero_grad()
            loss(net, part.__getitems__(rows.tolist())).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        seconds += time.process_time() - start
    count = sum(p.numel() for p in net.parameters())
    test = error(net, data.splits["test"])
    return {"mse": test, "step": seconds / steps, "parameters": count}


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS)
    data = read()
    runs: dict[tuple[int, Kind], list[dict[str, float]]] = {
        (degree, kind): [] for degree in DEGREES for kind in KINDS
    }
    for seed in seeds:
        for (degree, kind), done in runs.items():
            name = f"nbody_products/{kind}-{degree}-{epochs}-{seed}"
            done.append(finished(name, partial(train, data, kind, degree, epochs, seed)))
        rows = tuple(own_row(*key, done) for key, done in runs.items())
        table = Table(("degree", "products"), COLUMNS, rows, "mse")
        settings = {"epochs": epochs, "seeds": len(seeds)}
        publish(measured("accuracy/nbody_products", __doc__, [table], settings))


def own_row(degree: int, kind: Kind, runs: list[dict[str, float]]) -> Row:
    cells = {
        "mse": over([run["mse"] for run in runs]),
        "step": mean(run["step"] for run in runs),
        "parameters": runs[0]["parameters"],
    }
    origin = "geqlib" if kind == "gaunt" else "peer"
    return Row((str(degree), PRODUCTS[kind]), cells, origin, **measured_by(runs))


if __name__ == "__main__":
    start(main)
