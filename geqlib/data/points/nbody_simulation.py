"""The charged n-body simulation of the EGNN benchmark, vectorised over simulations.

Source: Satorras, Hoogeboom, Welling, "E(n) equivariant graph neural networks" (ICML 2021), after
Kipf et al., "Neural relational inference" (ICML 2018).

Balls of charge q move under Coulomb forces F_i = strength * sum_j q_i q_j (x_i - x_j) / |x_ij|^3,
each component clipped to +-0.1/dt, integrated by semi-implicit Euler with dt = 1e-3. The random
draws come in the order of the reference generator, so that one seed gives one set of trajectories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

DT = 1e-3
STEPS_PER_FRAME = 100
CHUNK = 250


@dataclass(frozen=True)
class NBodySystem:
    """What is simulated. The defaults are the published benchmark.

    Args:
        n_balls: balls in one simulation.
        dim: dimension of space, 2 or 3.
        box: initial positions beyond +-box are reflected once; afterwards there are no walls.
        charges: the values a charge is drawn from, with equal probability.
        position_std: standard deviation of the initial positions.
        speed: norm of each initial velocity.
        strength: interaction strength.
        frames: frames that the reference run stores (its horizon: 100 steps of 1e-3 a frame); it
            fixes how many noise draws end a simulation.

    Raises:
        ValueError: if an argument is out of range.
    """

    n_balls: int = 5
    dim: int = 3
    box: float = 5.0
    charges: tuple[float, ...] = (-1.0, 1.0)
    position_std: float = 1.0
    speed: float = 0.5
    strength: float = 1.0
    frames: int = 49

    def __post_init__(self) -> None:
        if self.dim not in (2, 3):
            raise ValueError(f"dim must be 2 or 3, got {self.dim}: choose the plane or space.")
        if self.n_balls < 1:
            raise ValueError(f"n_balls must be at least 1, got {self.n_balls}.")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}.")
        if self.box <= 0:
            raise ValueError(f"box must be positive, got {self.box}.")
        if not self.charges:
            raise ValueError("charges is empty: name at least one value, as in (-1.0, 1.0).")


@dataclass(frozen=True)
class InitialState:
    """Charges [S, n], positions and velocities [S, n, dim] of S simulations at step 0."""

    charge: np.ndarray
    pos: np.ndarray
    vel: np.ndarray


def draw_initial_states(
    system: NBodySystem, count: int, rng: np.random.RandomState, keep: int | None = None
) -> InitialState:
    """Draw `count` simulations from `rng` and return the first `keep` of them.

    Every simulation consumes, in this order: the charges, randn(dim, n) positions,
    randn(dim, n) velocities, and two randn(frames, dim, n) draws of observation noise whose
    variance is zero in the benchmark. Skipped simulations consume theirs too.
    """
    keep = count if keep is None else keep
    if keep > count:
        raise ValueError(f"{keep} simulations wanted of a split that draws {count}: raise `drawn`.")
    n, dim = system.n_balls, system.dim
    values, chances = _charge_table(system.charges)
    charge, pos, vel = np.empty((keep, n)), np.empty((keep, dim, n)), np.empty((keep, dim, n))
    for k in range(count):
        q = rng.choice(values, size=(n, 1), p=chances)
        x = rng.randn(dim, n) * system.position_std
        v = rng.randn(dim, n)
        rng.randn(2 * system.frames * dim * n)
        if k < keep:
            v = v * system.speed / np.sqrt((v**2).sum(axis=0, keepdims=True))
            charge[k], (pos[k], vel[k]) = q[:, 0], _reflect(x, v, system.box)
    return InitialState(charge, pos.swapaxes(1, 2), vel.swapaxes(1, 2))


def simulate(
    system: NBodySystem,
    start: InitialState,
    frames: tuple[int, ...],
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at `frames`, each [S, len(frames), n, dim], float64.

    Frame k is the state after 100 (k + 1) steps. `progress` wraps the list of chunks that the loop
    runs over, as `rich.progress.track` does.
    """
    if not frames or list(frames) != sorted(set(frames)) or frames[0] < 0:
        raise ValueError(f"frames must be increasing and not negative, got {frames}.")
    count = len(start.pos)
    pos = np.empty((count, len(frames), system.n_balls, system.dim))
    vel = np.empty_like(pos)
    for first in progress(range(0, count, CHUNK)):
        part = slice(first, min(first + CHUNK, count))
        for k, (x, v) in enumerate(_trajectory(system, start, part, frames)):
            pos[part, k], vel[part, k] = x, v
    return pos, vel


def _charge_table(charges: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities as the reference draws them: it lists a zero charge of chance 0.

    The zero stays in the table because `choice` searches the cumulated probabilities.
    """
    if sorted(charges) == [-1.0, 1.0]:
        return np.array([-1.0, 0.0, 1.0]), np.array([0.5, 0.0, 0.5])
    return np.array(charges), np.full(len(charges), 1 / len(charges))


def _reflect(x: np.ndarray, v: np.ndarray, box: float) -> tuple[np.ndarray, np.ndarray]:
    over, under = x > box, x < -box
    x = np.where(over, 2 * box - x, np.where(under, -2 * box - x, x))
    v = np.where(over, -np.abs(v), np.where(under, np.abs(v), v))
    return x, v


def _trajectory(
    system: NBodySystem, start: InitialState, part: slice, frames: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ([S, n, dim], [S, n, dim]) at each frame; inside, simulations are the last axis."""
    x = np.ascontiguousarray(start.pos[part].transpose(2, 1, 0))
    v = np.ascontiguousarray(start.vel[part].transpose(2, 1, 0))
    q = start.charge[part].T
    first, second = np.triu_indices(system.n_balls, k=1)
    strength = system.strength * (q[first] * q[second])
    wanted = {STEPS_PER_FRAME * (k + 1) for k in frames}
    for step in range(1, max(wanted) + 1):
        v += DT * _forces(x, strength, first, second)
        x += DT * v
        if step in wanted:
            yield x.transpose(2, 1, 0), v.transpose(2, 1, 0)


def _forces(
    x: np.ndarray, strength: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Clipped Coulomb forces [dim, n, S] of the pairs (first[p], second[p]).

    Close encounters amplify rounding until trajectories differ, so every operation rounds as in the
    reference: |a - b|^2 expanded as |a|^2 + |b|^2 - 2ab with the products from BLAS, a true power,
    and the forces on a ball added in the order of the other balls.
    """
    rows = np.ascontiguousarray(x.transpose(2, 1, 0))
    product = (rows @ rows.swapaxes(1, 2))[:, first, second].T
    norm = (x * x).sum(0)
    square = norm[first] + norm[second] - 2 * product
    pair = (strength / np.power(square, 1.5)) * (x[:, first] - x[:, second])
    force = np.zeros_like(x)
    for p in np.argsort(first, kind="stable"):
        force[:, second[p]] -= pair[:, p]
    for p in range(len(first)):
        force[:, first[p]] += pair[:, p]
    limit = 0.1 / DT
    return np.clip(force, -limit, limit, out=force)
