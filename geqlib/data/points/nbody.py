"""The charged n-body benchmark as a Lightning data module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.data.points.nbody_simulation import NBodySystem, draw_initial_states, simulate
from geqlib.files.atomic import cached_arrays

DRAWN = {"train": 10_000, "val": 2_000, "test": 2_000}
FIELDS = ("pos", "vec", "x", "y", "path")


class NBodyData(SplitLoaders):
    """Where will each ball be ten frames on? Charged balls in free space.

    The protocol of Satorras, Hoogeboom, Welling (ICML 2021): positions and velocities of frame 30
    in, positions of frame 40 out; 3000 training, 2000 validation and 2000 test simulations from
    one random stream (seed 43), in which 10 000 training simulations come first.

    Batches hold `pos` [N, dim], `vec` [N, 1, dim] velocities, `x` [N, 1] charges, `edge_index`
    [2, E] all pairs within a simulation, on request `edge_attr` [E, 1] products of charges, `y`
    [N, dim] the later positions, `path` [N, frames, dim] the way there, for pictures, and `batch`.
    Units are the simulation's own.

    Args:
        batch_size: simulations in a batch.
        train, val, test: simulations used of each split.
        n_balls, dim, box, charges, position_std, speed, strength: see `NBodySystem`.
        input_frame, target_frame: a frame is 100 steps of 1e-3.
        data_seed: seed of the simulations.
        shuffle_seed: seed of the order of the training simulations.
        charge_products: whether batches hold `edge_attr`.
        cache: folder for generated data; the user's cache folder by default.

    Example:
        >>> data = NBodyData(train=2, val=1, test=1, input_frame=0, target_frame=1)
        >>> data.prepare_data(); data.setup()
        >>> next(iter(data.val_dataloader())).y.shape
        torch.Size([5, 3])
    """

    noun: ClassVar[str] = "simulation"

    def __init__(
        self,
        batch_size: int = 100,
        *,
        train: int = 3000,
        val: int = 2000,
        test: int = 2000,
        n_balls: int = 5,
        dim: int = 3,
        box: float = 5.0,
        charges: Sequence[float] = (-1.0, 1.0),
        position_std: float = 1.0,
        speed: float = 0.5,
        strength: float = 1.0,
        input_frame: int = 30,
        target_frame: int = 40,
        data_seed: int = 43,
        shuffle_seed: int = 0,
        charge_products: bool = False,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if min(train, val, test) < 0:
            raise ValueError(
                f"train, val and test must not be negative, got {train}, {val} and {test}."
            )
        if not 0 <= input_frame < target_frame:
            raise ValueError(
                f"input_frame {input_frame} must not be negative and come before target_frame "
                f"{target_frame}."
            )
        self.sizes = {"train": train, "val": val, "test": test}
        self.frames = tuple(range(input_frame, target_frame + 1))
        self.batch_size, self.data_seed, self.shuffle_seed = batch_size, data_seed, shuffle_seed
        self.system = NBodySystem(
            n_balls=n_balls,
            dim=dim,
            box=box,
            charges=tuple(charges),
            position_std=position_std,
            speed=speed,
            strength=strength,
            frames=max(49, target_frame + 1),
        )
        self.charge_products = charge_products
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        for split in self.sizes:
            charge, pos, vel = (arrays[f"{split}_{key}"] for key in ("charge", "pos", "vel"))
            self.splits[split] = simulations(charge, pos, vel, charge_products=self.charge_products)

    def baselines(self) -> dict[str, Tensor]:
        """Squared error per coordinate of each test simulation, for predictors without a network.

        The linear one fits displacement = a (x - mean x) + b v to the training simulations by
        least squares.
        """
        pos, vel, y = self._states("train")
        features = torch.stack([pos - pos.mean(1, keepdim=True), vel])
        shift = (y - pos).flatten()
        fit = torch.linalg.lstsq(features.flatten(1).T, shift[:, None]).solution[:, 0]
        pos, vel, y = self._states("test")
        elapsed = (self.frames[-1] - self.frames[0]) * 0.1
        guesses = {
            "copy": pos,
            "constant velocity": pos + elapsed * vel,
            "linear": pos + fit[0] * (pos - pos.mean(1, keepdim=True)) + fit[1] * vel,
        }
        return {name: ((guess - y) ** 2).mean((1, 2)) for name, guess in guesses.items()}

    def _states(self, split: str) -> list[Tensor]:
        """Positions, velocities and later positions, [S, n, dim] each."""
        part, shape = self.splits[split], (-1, self.system.n_balls, self.system.dim)
        return [values.reshape(shape) for values in (part.pos, part.vec, part.y)]

    def _arrays(self) -> Arrays:
        parameters = {
            "system": asdict(self.system),
            "frames": list(self.frames),
            "sizes": self.sizes,
            "drawn": DRAWN,
            "seed": self.data_seed,
        }
        return cached_arrays("nbody", parameters, self._generate, self.cache)

    def _generate(self) -> Arrays:
        rng = np.random.RandomState(self.data_seed)
        arrays = {}
        for split, size in self.sizes.items():
            start = draw_initial_states(self.system, max(DRAWN[split], size), rng, size)
            pos, vel = simulate(
                self.system, start, self.frames, lambda parts, s=split: _progress(parts, s)
            )
            arrays |= {
                f"{split}_charge": start.charge,
                f"{split}_pos": pos,
                f"{split}_vel": vel[:, 0],
            }
        return arrays


def simulations(
    charge: np.ndarray, pos: np.ndarray, vel: np.ndarray, *, charge_products: bool = False
) -> PackedGraphs:
    """Simulations of one number of balls as graphs.

    Args:
        charge: [S, n].
        pos: [S, frames, n, dim]: the first frame is the input, the last the target.
        vel: [S, n, dim] at the first frame.
        charge_products: whether batches hold q_i q_j as `edge_attr`.
    """
    count, frames, n, dim = pos.shape
    path = pos.swapaxes(1, 2).reshape(count * n, frames, dim)
    arrays = {
        "nodes": np.full(count, n),
        "pos": path[:, 0],
        "vec": vel.reshape(count * n, 1, dim),
        "x": charge.reshape(count * n, 1),
        "y": path[:, -1],
        "path": path,
    }
    pairs = (~torch.eye(n, dtype=torch.bool)).nonzero().T
    transform = partial(_with_pairs, pairs=pairs, charge_products=charge_products)
    return PackedGraphs(arrays, dict.fromkeys(FIELDS, "node"), transform=transform)


def _with_pairs(graphs: Any, pairs: Tensor, charge_products: bool) -> Any:
    """All ordered pairs of balls of each simulation, too many to be kept for all simulations."""
    start = graphs.ptr[:-1] if "ptr" in graphs else torch.zeros(1, dtype=torch.long)
    pairs = pairs.to(start.device, non_blocking=True)
    graphs.edge_index = (pairs[:, None] + start[:, None]).flatten(1)
    if charge_products:
        source, target = graphs.edge_index
        graphs.edge_attr = graphs.x[source] * graphs.x[target]
    return graphs


def _progress(parts: Sequence[int], split: str) -> Iterable[int]:
    console = Console(stderr=True)
    return track(parts, f"n-body {split}", console=console, disable=not console.is_terminal)
