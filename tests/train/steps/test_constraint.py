"""Invariance as a constraint: dual variables are those of constrained solvers, resumed exactly."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from scipy.optimize import NonlinearConstraint, minimize
from torch import Tensor, nn
from torch_geometric.data import Batch

from geqlib.files.checkpoint import read_checkpoint
from geqlib.report.runs import read_history
from geqlib.train import InvarianceConstraint, Task
from geqlib.train.run import fit
from geqlib.train.steps.constraint import dual_prices
from geqlib.train.steps.watched import READ_EVERY
from tests.train.every_task import TASKS, small_run
from tests.waits import waits

POINTS = 256


class Plane(Task):
    """A linear function of one point in the plane, with the squared error of each."""

    inputs: ClassVar = {"pos": "point", "batch": "batch"}
    outputs: ClassVar = {"y": "graph:scalar"}

    def graph_losses(self, batch: Any) -> Tensor:
        return (self.model(batch.pos)[:, 0] - batch.y).square()

    def loss(self, batch: Any) -> Tensor:
        return self.graph_losses(batch).mean()


class Whole(Plane):
    """The same, known by the mean alone."""

    def graph_losses(self, batch: Any) -> None:
        return None

    def loss(self, batch: Any) -> Tensor:
        return (self.model(batch.pos)[:, 0] - batch.y).square().mean()


class Negative(Plane):
    def graph_losses(self, batch: Any) -> Tensor:
        return super().graph_losses(batch) - 9.0


def plane(points: int = POINTS) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(points, 2, generator=generator, dtype=torch.float64)
    batch = Batch(pos=pos, y=0.5 + pos[:, 0], batch=torch.arange(points))
    batch._num_graphs = points
    return batch


def solved(batch: Batch, eps: float) -> tuple[np.ndarray, float]:
    """Weights and multiplier of min mean (w x + b - y)^2 subject to its mean over rotations:
    mean |w|^2 |x|^2 / 2 + (b - y)^2 <= eps."""
    pos, y = batch.pos.numpy(), batch.y.numpy()

    def loss(v: np.ndarray) -> float:
        return float(((pos @ v[:2] + v[2] - y) ** 2).mean())

    def rotated(v: np.ndarray) -> float:
        return float((v[:2] @ v[:2] * (pos**2).sum(1) / 2 + (v[2] - y) ** 2).mean())

    bound = NonlinearConstraint(rotated, -np.inf, eps)
    options = {"gtol": 1e-9, "xtol": 1e-10}
    done = minimize(loss, np.zeros(3), constraints=bound, method="trust-constr", options=options)
    return done.x, float(done.v[0][0])


@pytest.mark.filterwarnings("ignore:delta_grad")
def test_the_dual_variable_of_a_convex_problem_is_that_of_a_constrained_solver() -> None:
    """Rates of 0.05 leave noise of some percent in 300 steps: the mean of 256 losses of standard
    deviation about 2 is known to 0.12, of which the average over 300 steps leaves 0.007 in eps,
    0.02 in a multiplier that changes by 2.2 for a unit of eps."""
    torch.manual_seed(0)
    batch, eps = plane(), 1.5
    task = Plane(nn.Linear(2, 1).double())
    constraint = InvarianceConstraint("SO(2)", eps, dual_lr=0.05, steps=0)
    optimiser, duals = torch.optim.SGD(task.parameters(), lr=0.05), []
    for _ in range(700):
        optimiser.zero_grad()
        (task.loss(batch) + constraint.penalty(task, batch)).backward()
        optimiser.step()
        duals.append(constraint.dual)
    weights, multiplier = solved(batch, eps)
    assert 0.1 < multiplier < 2
    assert abs(np.mean(duals[400:]) - multiplier) < 0.05
    trained = torch.cat([p.detach().flatten() for p in task.parameters()])
    assert np.abs(trained.numpy() - weights).max() < 0.1


def test_a_symmetry_that_the_task_has_costs_nothing() -> None:
    torch.manual_seed(0)
    batch = plane()
    batch.y = torch.ones_like(batch.y)
    task = Plane(nn.Linear(2, 1).double())
    constraint = InvarianceConstraint("SO(2)", 0.1, dual_lr=0.05)
    optimiser, duals = torch.optim.SGD(task.parameters(), lr=0.05), []
    for _ in range(160):
        optimiser.zero_grad()
        (task.loss(batch) + constraint.penalty(task, batch)).backward()
        optimiser.step()
        duals.append(constraint.dual)
    assert max(duals) > 0.01
    assert constraint.dual == 0


def test_transforms_are_drawn_in_proportion_to_losses() -> None:
    """With l(x) = (|x| cos t)^2 the mean of l under a density in proportion to l is E l^2 / E l =
    3 |x|^2 / 4, half as much again as E l = |x|^2 / 2."""
    torch.manual_seed(0)
    batch = plane(20_000)
    batch.pos = torch.nn.functional.normalize(batch.pos)
    batch.y = torch.zeros_like(batch.y)
    task = Plane(nn.Linear(2, 1).double())
    task.model.weight.data, task.model.bias.data = (
        torch.eye(2).double()[:1],
        torch.zeros(1).double(),
    )
    means = []
    for steps in (0, 30):
        chain = InvarianceConstraint("SO(2)", 0.1, steps=steps)
        with torch.no_grad():
            drawn = task.transformed(batch, chain.elements(task, batch))
            means.append(float(task.loss(drawn)))
    # standard deviations of l are 0.35 and 0.22: five standard errors of 20 000
    assert abs(means[0] - 0.5) < 5 * 0.36 / 20_000**0.5
    assert abs(means[1] - 0.75) < 5 * 0.25 / 20_000**0.5


@pytest.mark.parametrize("kind", [Plane, Whole])
def test_losses_of_graphs_or_of_a_batch(kind: type[Task]) -> None:
    torch.manual_seed(0)
    batch, task = plane(8), kind(nn.Linear(2, 1).double())
    constraint = InvarianceConstraint("E(2)", 0.1, steps=3)
    constraint.dual = 2.0
    penalty = constraint.penalty(task, batch)
    penalty.backward()
    assert penalty.item() == pytest.approx(2 * constraint.last_loss)
    assert constraint.dual == pytest.approx(2 + 0.01 * (constraint.last_loss - 0.1))
    assert all(p.grad is not None for p in task.parameters())


@pytest.mark.parametrize("name", TASKS)
def test_every_task(name: str, tmp_path: Path) -> None:
    """A step of every task under relabelling, which acts on all of their inputs."""
    run = small_run(name, tmp_path / "run", limit_val_batches=0, max_epochs=1)
    run.trainer = {**run.trainer, "limit_train_batches": 1, "logger": False}
    constraint = InvarianceConstraint("S_n", 1e-6)
    run.callbacks = [constraint]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(run)
    assert constraint.dual > 0
    assert not run.task.penalties


@pytest.mark.filterwarnings("ignore")
def test_resumed_runs_and_learning_curves(tmp_path: Path) -> None:
    def constrained(folder: str, epochs: int) -> Any:
        run = small_run("regression", tmp_path / folder, max_epochs=epochs)
        run.task.schedule, run.task.warmup = "constant", 0.0
        run.callbacks = [InvarianceConstraint("SO(3)", 0.01), InvarianceConstraint("S_n", 0.02)]
        return run

    whole = fit(constrained("whole", 3))
    fit(constrained("parts", 1))
    part = constrained("parts", 3)
    fit(part, ckpt_path=part.folder / "checkpoints" / "last.ckpt")
    states = [
        read_checkpoint(run.folder / "checkpoints" / "last.ckpt", "cpu") for run in (whole, part)
    ]
    prices = [dual_prices(state) for state in states]
    assert prices[0] == prices[1] and prices[0].keys() == {"SO(3)", "S_n"}
    for one, two in zip(*(state["state_dict"].values() for state in states), strict=True):
        assert torch.equal(one, two)
    history = read_history(whole.folder)
    duals, accepted = (history[f"train/{name}_SO(3)"][:, 1] for name in ("dual", "acceptance"))
    assert duals[-1] == pytest.approx(prices[0]["SO(3)"]["dual"], rel=1e-6)
    assert len(history["train/dual_S_n"]) == len(history["train/constraint_S_n"]) == 3
    assert 0 < accepted.min() <= accepted.max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "SU(2)"}, "group 'SU.2.' is unknown"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"dual_lr": -1.0}, "dual_lr must be positive"),
        ({"steps": -1}, "steps must be a whole number of at least 0"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"scale": float("nan")}, "scale must be finite"),
        ({"eps": float("nan")}, "eps must be positive"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InvarianceConstraint(**({"group": "SO(2)", "eps": 0.1} | options))


@pytest.mark.parametrize(
    ("group", "task", "message"),
    [
        ("SO(3)", Plane, "acts on 3 dimensions, but pos of the batch has 2"),
        ("SO(2)", Negative, "loss of Negative is -.*must not be negative"),
    ],
)
def test_bad_tasks(group: str, task: type[Task], message: str) -> None:
    constraint = InvarianceConstraint(group, 0.1)
    with pytest.raises(ValueError, match=message):
        constraint.penalty(task(nn.Linear(2, 1).double()), plane(4))


def test_a_group_that_acts_on_no_input(tmp_path: Path) -> None:
    run = small_run("graph_classification", tmp_path / "run", logger=False)
    run.callbacks = [InvarianceConstraint("SO(3)", 0.1)]
    with (
        pytest.raises(ValueError, match=r"SO\(3\) acts on no input of GraphClassificationTask"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        fit(run)
    assert not run.task.penalties  # though training ended in an error


def test_a_second_run_has_one_penalty() -> None:
    constraint, task = InvarianceConstraint("SO(2)", 0.1), Plane(nn.Linear(2, 1).double())
    other = InvarianceConstraint("SO(2)", 0.1)
    for one in (constraint, other, constraint):
        one.on_train_start(L.Trainer(logger=False, accelerator="cpu"), task)
    assert len(task.penalties) == 2


def test_the_matrices_of_a_finite_group() -> None:
    """Labels x are at odds with half a turn, of which there was none."""
    half_turn = torch.stack([torch.eye(2), -torch.eye(2)])
    constraint, batch = InvarianceConstraint(half_turn, 0.1, steps=0), plane(64)
    assert constraint.name == "thefinitegroupof2matrices"
    torch.manual_seed(0)
    elements = constraint.elements(Plane(nn.Linear(2, 1).double()), batch)
    assert {float(m[0, 0]) for m in elements.matrix} == {1.0, -1.0}


def test_normals_do_not_stretch() -> None:
    from geqlib.train import NormalsTask

    with pytest.raises(ValueError, match=r"GL\+\(3\) does not act on the labels of NormalsTask"):
        NormalsTask(nn.Linear(3, 3), rotate="GL+(3)").augmented(plane(4))


def test_a_bound_that_nothing_keeps_is_said_once() -> None:
    torch.manual_seed(0)
    constraint = InvarianceConstraint("SO(2)", 1e-3, dual_lr=10.0, bound=5.0)
    task, batch = Plane(nn.Linear(2, 1).double()), plane(32)
    with pytest.warns(UserWarning, match=r"dual variable of SO\(2\) has passed 5"):
        constraint.penalty(task, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constraint.penalty(task, batch)


@pytest.mark.parametrize(
    ("duals", "rising"),
    [
        ([0.3 * k for k in range(40)], True),  # grows steadily
        ([1 - 0.8**k for k in range(40)], False),  # settles
        ([*range(20), *range(19, -1, -1), 0, 0.1], False),  # returns to 0, and leaves it a little
        ([1.0, 2.0, 3.0], False),  # not long enough
        ([0.0] * 8, False),
    ],
)
def test_a_dual_variable_that_still_rises_is_said_at_the_end(
    duals: list[float], rising: bool
) -> None:
    constraint, task = InvarianceConstraint("SO(2)", 0.1), Plane(nn.Linear(2, 1).double())
    trainer = L.Trainer(logger=False, accelerator="cpu")
    task.log = lambda *args, **options: None
    constraint.on_train_start(trainer, task)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for dual in duals:
            constraint.dual = dual
            constraint.on_train_epoch_end(trainer, task)
        constraint.on_train_end(trainer, task)
    texts = [str(warning.message) for warning in said]
    assert any("SO(2) still rises at the end, to 11.7" in text for text in texts) == rising


@pytest.mark.parametrize("steps", [0, 2])
def test_the_host_of_an_accelerator_reads_nothing_in_a_step(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first epoch, in which each batch is checked."""
    task, batch = Plane(nn.Linear(2, 1).double()), plane(8)
    early = InvarianceConstraint("S_n x SE(2)", 0.1, steps=steps)
    late = InvarianceConstraint("S_n x SE(2)", 0.1, steps=steps)
    torch.manual_seed(0)
    expected = [early.penalty(task, batch) for _ in range(3)]
    monkeypatch.setattr(Task, "_reads_late", lambda self: True)
    task._unchecked = set()
    torch.manual_seed(0)
    penalties: list[Tensor] = []
    assert waits(lambda: penalties.extend(late.penalty(task, batch) for _ in range(3))) == []
    assert torch.equal(torch.stack(penalties), torch.stack(expected))
    assert late.dual == early.dual > 0


def test_an_accelerator_learns_of_negative_losses_some_steps_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Task, "_reads_late", lambda self: True)
    constraint, task = InvarianceConstraint("SO(2)", 0.1), Negative(nn.Linear(2, 1).double())
    with pytest.raises(ValueError, match="must not be negative"):
        for _ in range(READ_EVERY):
            constraint.penalty(task, plane(4))


def test_losses_that_are_not_finite_leave_the_dual_variable() -> None:
    constraint, task = InvarianceConstraint("SO(2)", 0.1, steps=0), Plane(nn.Linear(2, 1).double())
    constraint.dual = 2.0
    batch = plane(4)
    batch.y = torch.full_like(batch.y, torch.nan)
    constraint.penalty(task, batch)
    assert constraint.dual == 2.0
