"""Invariance as a constraint of training, whose dual variable is the price of a symmetry."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from geqlib.symmetry.affine import SCALE
from geqlib.symmetry.groups import Group, parse_group
from geqlib.train.steps.watched import READ_EVERY
from geqlib.train.tasks.augmentation import GraphElements
from geqlib.train.tasks.task import Task

BOUND = 100.0
# metrics, before the name of the group
DUAL, LOSS, ACCEPTANCE = "train/dual", "train/constraint", "train/acceptance"


class InvarianceConstraint(L.Callback):
    """Trains a task so that it does as well on transformed inputs: invariance as a constraint.

    Source: Hounie, Chamon and Ribeiro, "Automatic data augmentation via invariance-constrained
    learning" (ICML 2023, arXiv 2209.15031). The problem

        minimise E[loss(f(x), y)]  subject to  E[loss(f(g x), g y)] <= eps

    is solved by descent in the weights of loss(f(x), y) + mu loss(f(g x), g y), and ascent in the
    dual variable after every batch,

        mu <- max(0, mu + dual_lr (loss(f(g x), g y) - eps)).

    Labels are transformed with the inputs (g y; invariant ones stay), by the types that the task
    declares. Transforms are drawn for each graph with a density in proportion to its loss, so that
    bad ones come more often: `steps` steps of independent Metropolis-Hastings from a random element
    (the paper takes one), which accept a new one with probability min(1, new loss / old loss). A
    task that has only the loss of a whole batch (`Task.graph_losses`) accepts or rejects the new
    elements of all of its graphs together, nearly all of them, as means of large batches hardly
    differ. 0 steps leave the elements as they are drawn.

    At the end mu is 0 where the task has the symmetry anyway, and grows without bound where no
    model keeps eps. With steps=0, once it has settled at a minimum, it is what a small change of
    eps costs: d(loss) / d(eps) = -mu. With more steps the density of the transforms follows the
    weights, which descent takes for fixed: then mu is the weight that the transformed loss needs,
    and compares symmetries, but is no derivative.

    Epochs log `train/dual_GROUP`, `train/constraint_GROUP` (the mean of the constrained loss) and
    `train/acceptance_GROUP`; checkpoints hold the dual variable, so that a resumed run equals an
    uninterrupted one. Each step costs `steps` + 2 more forward passes, or one more if `steps` is 0,
    and one more backward pass. The dual variable stays on the device; on an accelerator the host
    looks at it, for what follows under Raises and `bound`, every few steps alone.

    Args:
        group: name of a group, such as "SO(3)", "S_n x E(3)" or "GL+(2)", or the matrices [n, d, d]
            of a finite one: see `geqlib.symmetry.groups.parse_group`. On points in space SO(2)
            turns about the z axis.
        eps: bound of the mean transformed loss, above 0, in units of the task's loss.
        dual_lr: rate of the dual variable.
        steps: of Metropolis-Hastings.
        scale: of the stretches of GL+, SL and R+.
        bound: of the dual variable, above which a warning says that eps may be out of reach. One
            that still rises at the end is said below it, too (`still_rising`).

    Raises:
        ValueError: unknown groups and numbers out of range; when training begins, a group that acts
            on no input of the task, or not on its labels, or a task that replays its steps; in
            training, losses below 0, of which there are no densities.

    Example:
        >>> constraint = InvarianceConstraint("SO(3)", eps=0.1)
        >>> constraint.dual
        0.0
    """

    def __init__(
        self,
        group: str | Tensor,
        eps: float,
        *,
        dual_lr: float = 1e-2,
        steps: int = 1,
        scale: float = SCALE,
        bound: float = BOUND,
    ) -> None:
        self.group: Group = parse_group(group)
        self.eps, self.dual_lr, self.steps = float(eps), float(dual_lr), int(steps)
        self.scale, self.bound = float(scale), float(bound)
        for name, value in (("eps", self.eps), ("dual_lr", self.dual_lr), ("bound", self.bound)):
            if not (0 < value < math.inf):
                raise ValueError(f"{name} must be positive and finite, got {value}.")
        if self.steps < 0 or self.steps != steps:
            raise ValueError(f"steps must be a whole number of at least 0, got {steps}.")
        if not (0 <= self.scale < math.inf):
            raise ValueError(f"scale must be finite and at least 0, got {scale}.")
        self.name = self.group.label.replace(" ", "")
        self._dual = torch.zeros((), dtype=torch.float64)
        self._loss = torch.tensor(math.nan, dtype=torch.float64)
        self._lowest = torch.tensor(math.inf, dtype=torch.float64)  # of all losses since a look
        self._unread, self._said = 0, False
        self._duals: list[float] = []  # after each epoch
        self._trainer: L.Trainer | None = None

    @property
    def dual(self) -> float:
        """The dual variable; the host waits for the device to read it."""
        return float(self._dual)

    @dual.setter
    def dual(self, value: float) -> None:
        self._dual = torch.tensor(float(value), dtype=torch.float64, device=self._dual.device)

    @property
    def last_loss(self) -> float:
        """The transformed loss of the last step, NaN before the first."""
        return float(self._loss)

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def state_dict(self) -> dict[str, Any]:
        return {"dual": self.dual, "loss": self.last_loss, "eps": self.eps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.dual = float(state_dict["dual"])
        self._loss = torch.tensor(float(state_dict["loss"]), dtype=torch.float64)

    # --- hooks -----------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, Task):
            raise ValueError(
                f"{type(pl_module).__name__} is no geqlib Task, and InvarianceConstraint needs the "
                "types of inputs and labels: derive it from geqlib.train.Task."
            )
        if pl_module.cuda_graphs:
            raise ValueError(
                "InvarianceConstraint draws new transforms in each step, which recorded steps "
                "cannot: set cuda_graphs to false."
            )
        self._leave(pl_module)
        self._trainer, self._duals = trainer, []
        pl_module.penalties.append(partial(self.penalty, pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look(cast(Task, pl_module))
        self._duals.append(self.dual)
        pl_module.log(f"{DUAL}_{self.name}", self.dual)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if still_rising(self._duals) and not self._said:
            warnings.warn(
                f"The dual variable of {self.name} still rises at the end, to {self.dual:.3g}, "
                f"with a constrained loss of {self.last_loss:.3g} and eps={self.eps:g}: it is no "
                "price yet. Train for longer; if it goes on rising, no weights keep this eps: "
                "raise eps, or take a smaller group.",
                stacklevel=3,
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._leave(pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._leave(pl_module)  # Lightning tears nothing down then

    def _leave(self, pl_module: L.LightningModule) -> None:
        """Take the penalty off the task."""
        self._trainer = None
        penalties = getattr(pl_module, "penalties", [])
        own = [p for p in penalties if getattr(p, "func", None) == self.penalty]
        for penalty in own:
            penalties.remove(penalty)

    # --- a step ----------------------------------------------------------------------------------

    def penalty(self, task: Task, batch: Any) -> Tensor:
        """mu loss(f(g x), g y) of a batch; the dual variable takes its step."""
        before, task._watched = task._watched, {}
        with task._checked_before("train"):
            loss = task.loss(task.transformed(batch, self.elements(task, batch)))
        task._watched = before
        task.watch({f"loss under {self.name}": loss})
        dual = self._dual.to(loss)
        self._ascend(task, loss.detach(), int(batch.num_graphs))
        self._unread += 1
        if not task._reads_late() or self._unread >= READ_EVERY:
            self._look(task)
        return dual * loss

    def elements(self, task: Task, batch: Any) -> GraphElements:
        """Group elements of the graphs of a batch, with densities in proportion to their losses."""
        graphs = int(batch.num_graphs)
        elements = self._draw(task, batch)
        if self.steps == 0:
            return elements
        losses, accepted = self._losses(task, batch, elements), []
        for _ in range(self.steps):
            proposal = self._draw(task, batch)
            proposed = self._losses(task, batch, proposal)
            chosen = torch.rand_like(losses) * losses < proposed  # if both are 0, it makes none
            elements = elements.where(chosen.expand(graphs), proposal, batch.batch)
            losses = torch.where(chosen, proposed, losses)
            accepted.append(chosen.float().mean())
        self._log(task, ACCEPTANCE, torch.stack(accepted).mean(), graphs)
        return elements

    def _draw(self, task: Task, batch: Any) -> GraphElements:
        return task.random_elements(batch, self.group, scale=self.scale)

    @torch.no_grad()
    def _losses(self, task: Task, batch: Any, elements: GraphElements) -> Tensor:
        """[graphs] losses of transformed graphs, or [1] of a task that has only that of a batch."""
        transformed = task.transformed(batch, elements)
        losses = task.graph_losses(transformed)
        losses = task.loss(transformed)[None] if losses is None else losses
        self._lowest = torch.minimum(self._lowest.to(losses.device), losses.detach().amin())
        return losses.detach()

    def _ascend(self, task: Task, loss: Tensor, graphs: int) -> None:
        trainer = self._trainer
        if trainer is not None and trainer.world_size > 1:  # all processes have one dual variable
            loss = cast(Tensor, trainer.strategy.reduce(loss, reduce_op="mean"))
        self._log(task, LOSS, loss, graphs)
        self._loss = loss.double()
        dual = self._dual.to(loss.device)
        raised = (dual + self.dual_lr * (self._loss - self.eps)).clamp(min=0)
        self._dual = torch.where(self._loss.isfinite(), raised, dual)  # else the step is refused

    def _look(self, task: Task) -> None:
        """What has to be said about losses and the dual variable, which the host reads here."""
        self._unread = 0
        lowest, dual = float(self._lowest), self.dual
        self._lowest = torch.full_like(self._lowest, math.inf)
        if lowest < 0:
            raise ValueError(
                f"A loss of {type(task).__name__} is {lowest:.3g}, and Metropolis-Hastings weighs "
                "transforms by losses, which must not be negative: add a constant to the loss, or "
                "set steps=0."
            )
        if dual > self.bound and not self._said:
            self._said = True
            warnings.warn(
                f"The dual variable of {self.name} has passed {self.bound:g}, with a constrained "
                f"loss of {self.last_loss:.3g} and eps={self.eps:g}: no weights may keep this eps. "
                "Raise eps, or take a smaller group.",
                stacklevel=3,
            )

    def _log(self, task: Task, name: str, value: Tensor, graphs: int) -> None:
        if self._trainer is not None:
            where = f"{name}_{self.name}"
            task.log(where, value, on_step=False, on_epoch=True, batch_size=graphs)


def still_rising(duals: Sequence[float]) -> bool:
    """Whether a dual variable, as it was after each epoch, rises in the last quarter of them by
    more than a tenth of its highest value.

    One that grows steadily rises by a quarter in that time. Of fewer than 4 epochs nothing is said.

    Example:
        >>> still_rising([1.0, 2.0, 3.0, 4.0]), still_rising([1.0, 2.0, 2.1, 2.1])
        (True, False)
    """
    return len(duals) >= 4 and duals[-1] - duals[-1 - len(duals) // 4] > max(duals) / 10


def dual_prices(checkpoint: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The "dual" variable, the last constrained "loss" and "eps" of each group in a checkpoint.

    Example:
        >>> states = {"InvarianceConstraint(SO(3))": {"dual": 2.0, "loss": 0.4, "eps": 0.3}}
        >>> dual_prices({"callbacks": states})["SO(3)"]["dual"]
        2.0
    """
    start = f"{InvarianceConstraint.__name__}("
    states = checkpoint.get("callbacks", {})
    return {
        key.removeprefix(start).removesuffix(")"): dict(state)
        for key, state in states.items()
        if key.startswith(start)
    }
