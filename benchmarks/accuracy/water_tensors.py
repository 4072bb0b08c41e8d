"""Polarisabilities of water molecules: degree-2 outputs of GauntNet and of e3nn's network.

Protocol: 1000 molecules (`water_tensors`), 600 for training, 100 for validation, 300 for the test,
by one permutation. The polarisability (atomic units) in its irreps 0e + 2e, each divided by its
spread in training after subtraction of the mean scalar; sums over atoms. GauntNet (16 channels,
degree 2) and e3nn's `MessagePassing` (width chosen for about the same number of parameters), both
Adam with learning rate {lr}, a rise over a share of {warmup} of the steps and cosine decay,
gradients clipped to norm {clip}, batches of {batch}, {epochs} epochs, {seeds} seeds; the epoch of
lowest validation error is tested. Errors are root mean squares relative to the spread; "turned" is
the largest relative difference between the tensor of a turned molecule and the turned tensor, in
float64. Minutes are CPU minutes of one thread. Finished runs stay in runs/water_tensors.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/water_tensors.py [EPOCHS] [SEEDS]
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from ase.io import iread
from e3nn import o3
from rich.progress import track
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.e3nn_network import GateNetwork
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured, over
from benchmarks.tables import publish
from benchmarks.training import finished, measured_by
from geqlib.graph import sum_pool
from geqlib.models import GauntNet
from geqlib.symmetry.rotations import random_rotations

FILE = "water_tensors/water_monomers_1k.xyz.xz"
SPLIT = (600, 100, 300)
EPOCHS, SEEDS = 40, 3  # by default
BATCH, LR, WARMUP, CLIP, CUTOFF = 20, 0.01, 0.05, 1.0, 4.0
# orthonormal basis [6, 3, 3] of symmetric matrices that turns like 0e + 2e
BASIS = torch.cat(
    [
        o3.wigner_3j(1, 1, ell, dtype=torch.float64).movedim(2, 0) * (2 * ell + 1) ** 0.5
        for ell in (0, 2)
    ]
)
COLUMNS = (
    Column("scalar", "scalar", "%", ".2f"),
    Column("degree 2", "degree 2", "%", ".2f"),
    Column("minutes", "CPU minutes of one thread", "", ".1f"),
    Column("parameters", "parameters"),
    Column("turned", "turned", "", ".0e"),
)
PAIRS = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])  # edges of a molecule


class Water(NamedTuple):
    """Molecules: positions [M, 3, 3], elements [M, 3], polarisabilities in irreps [M, 6]."""

    pos: Tensor
    z: Tensor
    y: Tensor


def read() -> Water:
    frames = list(iread(Path(os.environ["GEQLIB_DATA"]) / FILE, format="extxyz"))
    pos = torch.tensor([atoms.positions.tolist() for atoms in frames], dtype=torch.float64)
    z = torch.tensor([atoms.numbers.tolist() for atoms in frames])
    alpha = torch.tensor([atoms.info["alpha"].tolist() for atoms in frames], dtype=torch.float64)
    return Water(pos, z, torch.einsum("mij,kij->mk", alpha.view(-1, 3, 3), BASIS))


def splits(water: Water) -> tuple[list[Water], Tensor]:
    """Training, validation and test set with scaled targets, and the two spreads."""
    order = torch.randperm(len(water.y), generator=torch.Generator().manual_seed(0))
    train = water.y[order[: SPLIT[0]]]
    shift = torch.cat([train[:, :1].mean(0), torch.zeros(5).double()])
    size = (train - shift).square()
    spread = torch.stack([size[:, 0].mean(), size[:, 1:].mean()]).sqrt()
    scaled = (water.y - shift) / spread[[0, 1, 1, 1, 1, 1]]
    parts = [Water(water.pos[k], water.z[k], scaled[k]) for k in order.split(SPLIT)]
    return parts, spread


def networks() -> dict[str, Callable[[], nn.Module]]:
    shared: dict[str, Any] = {"cutoff": CUTOFF, "neighbors": 2.0, "irreps_out": "1x0e+1x2e"}
    return {
        "GauntNet": lambda: GauntNet(
            [1, 8], channels=16, degree=2, hidden_degree=2, readout=16, **shared
        ),
        "e3nn": lambda: GateNetwork([1, 8], channels=10, degree=2, layers=3, **shared),
    }


def predict(net: Any, pos: Tensor, z: Tensor) -> Tensor:
    """[M, 6] of molecules."""
    count = len(z)
    edges = PAIRS.to(z.device).unsqueeze(1) + 3 * torch.arange(count)[None, :, None]
    batch = torch.arange(count).repeat_interleave(3)
    atoms = net(pos.reshape(-1, 3), z.flatten(), edges.flatten(1))
    return sum_pool(atoms, batch, count)


def errors(net: Any, part: Water) -> tuple[float, float]:
    """Of the scalar and of the degree-2 part, relative to their spreads."""
    with torch.no_grad():
        wrong = predict(net, part.pos.float(), part.z) - part.y
    return wrong[:, 0].square().mean().sqrt().item(), wrong[:, 1:].square().mean().sqrt().item()


def rate(step: int, steps: int) -> float:
    """Of learning: a short rise, then half a cosine."""
    rise = min((step + 1) / (WARMUP * steps), 1.0)
    return 0.5 * rise * (1 + math.cos(math.pi * step / steps))


def train(name: str, parts: list[Water], epochs: int, seed: int) -> dict[str, float]:
    """Train a network; test that of the epoch of lowest validation error."""
    torch.manual_seed(seed)
    net, start = networks()[name](), time.process_time()
    steps = epochs * (SPLIT[0] // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps=steps))
    fit, lowest, best = parts[0], math.inf, net.state_dict()
    for _ in track(range(epochs), f"{name}, seed {seed}"):
        for rows in torch.randperm(SPLIT[0]).split(BATCH):
            optimizer.zero_grad()
            wrong = predict(net, fit.pos[rows].float(), fit.z[rows]) - fit.y[rows].float()
            wrong.square().mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            schedule.step()
        validation = sum(errors(net, parts[1]))
        if validation < lowest:
            lowest, best = validation, {k: v.clone() for k, v in net.state_dict().items()}
    seconds = time.process_time() - start
    net.load_state_dict(best)
    scalar, tensor = errors(net, parts[2])
    return {
        "scalar": 100 * scalar,
        "degree 2": 100 * tensor,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in net.parameters()),
        "turned": turned(net, parts[2]),
    }


def turned(net: nn.Module, part: Water) -> float:
    """How far the tensor of a turned molecule is from the turned tensor."""
    net = net.double()
    turn = random_rotations(1, 3, dtype=torch.float64)[0]
    before = predict(net, part.pos, part.z)
    after = predict(net, part.pos @ turn.T, part.z)
    before, after = (torch.einsum("mk,kij->mij", y, BASIS) for y in (before, after))
    tensor = turn @ before @ turn.T
    difference = (after - tensor).abs().max()
    return (difference / tensor.abs().max()).item()


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS)
    parts, spread = splits(read())
    rows = []
    for name in networks():
        runs = [
            finished(
                f"water_tensors/{name}-{epochs}-{seed}", partial(train, name, parts, epochs, seed)
            )
            for seed in seeds
        ]
        cells: dict[str, Cell] = {
            "scalar": over([run["scalar"] for run in runs]),
            "degree 2": over([run["degree 2"] for run in runs]),
            "minutes": mean(run["seconds"] for run in runs) / 60,
            "parameters": runs[0]["parameters"],
            "turned": max(run["turned"] for run in runs),
        }
        rows.append(replace(own_row(name, cells), **measured_by(runs)))
    table = Table(("RMSE / spread",), COLUMNS, tuple(rows), "degree 2")
    settings = {"epochs": epochs, "seeds": len(seeds), "spread": spread.tolist()}
    publish(measured("accuracy/water_tensors", __doc__, [table], settings))


def own_row(name: str, cells: dict[str, Cell]) -> Row:
    return Row((name,), cells, "geqlib" if name == "GauntNet" else "peer")


if __name__ == "__main__":
    start(main)
