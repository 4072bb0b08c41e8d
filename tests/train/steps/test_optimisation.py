"""Optimisers, schedules, stages of the loss and early stopping: chosen, said, resumed exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from geqlib.files.checkpoint import read_checkpoint
from geqlib.train import EnergyForces, Task
from geqlib.train.run import Run, fit
from geqlib.train.runs.configuration import ConfigReader
from geqlib.train.steps.optimisation import Chosen, _scheduler, _short
from geqlib.train.steps.schedule import Plateau, rate_factor, schedule_settings
from geqlib.train.steps.stopping import StopEarly
from geqlib.train.tasks.energy import label_errors
from geqlib.train.tasks.loss_stages import loss_stages, weights_at
from tests.train import tiny
from tests.train.every_task import Points, parts, small_run

pytestmark = pytest.mark.filterwarnings("ignore")
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.03, "momentum": 0.9}}
DECAYING = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.03, "weight_decay": 0.5}}
STEPS = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
PLATEAU = {
    "class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "init_args": {"patience": 0, "factor": 0.5},
}


def regression(folder: Path, epochs: int = 4, **options: Any) -> Run:
    named = {
        k: options.pop(k) for k in ("optimizer", "lr_scheduler", "early_stopping") if k in options
    }
    task_options = options.pop("task", {})
    task, data, monitor = parts("regression", folder.with_name(f"{folder.name}-data"))
    if task_options:
        task = type(task)(task.model, **task_options)
    trainer = {"max_epochs": epochs, "accelerator": "cpu", "default_root_dir": folder}
    quiet = {"enable_progress_bar": False, "gradient_clip_val": None}
    return Run(task, data, trainer | quiet | options, monitor=monitor, **named)


class Stop(L.Callback):
    """Ends a run after some epochs, with the schedule of the whole one."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


class Rates(L.Callback):
    """The learning rate of every step, and the gradients of the first."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def state(run: Run) -> dict[str, Any]:
    stored = read_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    return {k: stored[k] for k in ("state_dict", "optimizer_states", "lr_schedulers", "epoch")}


def assert_equal(one: Any, two: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert one == two


def resumed(folder: Path, make: Callable[..., Run], after: int = 2) -> tuple[Run, Run]:
    """A whole run, and one that was stopped after some epochs and resumed."""
    whole = fit(make(folder / "whole"))
    fit(make(folder / "parts", callbacks=[Stop(after)]))
    last = folder / "parts" / "checkpoints" / "last.ckpt"
    return whole, fit(make(folder / "parts"), ckpt_path=last)


# --- what a run names in place of the task's own -------------------------------------------------


def test_the_optimizer_of_a_run_takes_its_steps(tmp_path: Path) -> None:
    """By hand: SGD with momentum and decay of matrices alone, on the task's warm-up and cosine."""
    run = regression(tmp_path / "run", 1, limit_train_batches=1, optimizer=DECAYING)
    before = {name: p.detach().clone() for name, p in run.task.model.named_parameters()}
    run.task.hparams["warmup"] = run.task.warmup = 0.0
    gradients: dict[str, Tensor] = {}

    class Keep(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients.update({k: p.grad.clone() for k, p in pl_module.model.named_parameters()})

    run.callbacks = [Keep()]
    fit(run)
    for name, p in run.task.model.named_parameters():
        decay = 0.5 * before[name] if p.dim() > 1 else 0.0
        assert torch.allclose(p, before[name] - 0.03 * (gradients[name] + decay), atol=1e-7), name


def test_a_scheduler_of_a_run_takes_a_step_each_epoch(tmp_path: Path) -> None:
    rates = Rates()
    fit(regression(tmp_path / "run", 3, lr_scheduler=STEPS, callbacks=[rates], task={"lr": 0.5}))
    assert rates.rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "monitor", "mode"),
    [
        ([], "val/accuracy", "max"),
        (["--lr_scheduler.monitor=val/loss"], "val/loss", "min"),
        (["--lr_scheduler.mode=max", "--lr_scheduler.patience=3"], "val/accuracy", "max"),
    ],
)
def test_a_plateau_of_the_command_line_waits_for_what_the_run_monitors(
    options: list[str], monitor: str, mode: str, tmp_path: Path
) -> None:
    config = tiny.command("fit", tmp_path)[1:]
    more = ["--monitor=val/accuracy", "--monitor_mode=max", "--lr_scheduler=ReduceLROnPlateau"]
    named = ConfigReader([*config, *more, *options]).run.lr_scheduler
    assert named is not None
    task = SimpleNamespace(chosen=Chosen(None, named, "val/accuracy", "max"), trainer=None)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    entry = _scheduler(task, optimizer)
    assert (entry["monitor"], entry["scheduler"].mode) == (monitor, mode)
    assert entry["scheduler"].patience == (3 if len(options) == 2 else 10)
    assert "threshold" not in _short(named)  # nor what else is as by default


@pytest.mark.slow
@pytest.mark.parametrize(
    "named",
    [
        {"optimizer": SGD},
        {"lr_scheduler": STEPS},
        {"optimizer": SGD, "lr_scheduler": PLATEAU},
        {"task": {"schedule": {"plateau": {"patience": 0}}}},
        {"task": {"schedule": {"step": {"at": [0.4, 0.6], "factor": 0.5}}}},
        {"task": {"schedule": "constant"}},
    ],
    ids=str,
)
def test_resumed_exactly(named: dict[str, Any], tmp_path: Path) -> None:
    def make(folder: Path, **options: Any) -> Run:
        return regression(folder, **named, **options)

    whole, again = resumed(tmp_path, make)
    assert_equal(state(whole), state(again))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"optimizer": SGD}, {}, r"optimizer SGD\(lr=0.03, momentum=0.9\), and .* of the task"),
        ({}, {"lr_scheduler": STEPS}, "lr_scheduler of the task, and this run has StepLR"),
        ({"optimizer": SGD}, {"optimizer": DECAYING}, r"has SGD\(lr=0.03, weight_decay=0.5\)"),
        (
            {"lr_scheduler": STEPS, "task": {"lr": 0.1}},
            {"lr_scheduler": STEPS, "task": {"lr": 0.2}},
            "lr was 0.1 and is 0.2, which a run with an lr_scheduler cannot change",
        ),
    ],
)
def test_another_choice_does_not_resume(
    first: dict[str, Any], second: dict[str, Any], said: str, tmp_path: Path
) -> None:
    run = fit(regression(tmp_path / "run", 1, **first))
    last = run.folder / "checkpoints" / "last.ckpt"
    with pytest.raises(ValueError, match=said):
        fit(regression(tmp_path / "run", 2, **second), ckpt_path=last)


class Own(Task):
    """A task that makes its own optimiser."""

    inputs = {"pos": "point"}  # noqa: RUF012

    def loss(self, batch: Any) -> Tensor:
        return self.model(batch.pos).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adagrad(self.parameters(), lr=self.lr)


def test_a_task_with_an_optimizer_of_its_own(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}

    def run(name: str, **named: Any) -> Run:
        options = trainer | {"default_root_dir": tmp_path / name}
        return Run(Own(nn.Linear(3, 1)), Points(), options, monitor="train/loss", **named)

    assert type(fit(run("own")).task.trainer.optimizers[0]) is torch.optim.Adagrad
    assert type(fit(run("named", optimizer=SGD)).task.trainer.optimizers[0]) is torch.optim.SGD
    with pytest.raises(ValueError, match=r"Own makes its own optimizer.*name the optimizer, too"):
        fit(run("scheduler", lr_scheduler=STEPS))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"optimizer": SGD | {"init_args": {"lr": -1.0}}}, "optimizer torch.optim.SGD: .*-1"),
        ({"lr_scheduler": STEPS | {"init_args": {"step_size": "a"}}}, "StepLR|unsupported"),
        (
            {"lr_scheduler": PLATEAU | {"init_args": {"mode": "max"}}},
            "mode max, but the run's monitor_mode for val/mae is min",
        ),
    ],
)
def test_settings_that_a_class_refuses(named: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        fit(regression(tmp_path / "run", 1, **named))


def test_a_scheduler_that_waits_for_what_nobody_logs(tmp_path: Path) -> None:
    kind = "lightning.pytorch.cli.ReduceLROnPlateau"
    named = {"class_path": kind, "init_args": {"monitor": "val/nope"}}
    with pytest.raises(ValueError, match="does not log the monitored metric val/nope"):
        fit(regression(tmp_path / "run", 1, lr_scheduler=named))


@pytest.mark.slow
def test_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    chosen = ["--optimizer", "SGD", "--optimizer.lr", "0.01", "--optimizer.momentum", "0.9"]
    scheduled = ["--lr_scheduler", "ExponentialLR", "--lr_scheduler.gamma", "0.5"]
    assert tiny.geqlib(tiny.command("fit", run, *chosen, *scheduled, epochs=2)) == 0
    said = capsys.readouterr().err
    assert "The optimizer is SGD(lr=0.01, momentum=0.9); lr 0.003, weight_decay 0 of the" in said
    assert "follows ExponentialLR(gamma=0.5), once an epoch; schedule and warmup" in said
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["class_path"] == "torch.optim.SGD"
    assert config["lr_scheduler"]["init_args"]["gamma"] == 0.5
    remaining = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert remaining["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.0025])
    last = str(run / "checkpoints" / "last.ckpt")
    again = ["fit", "--config", str(run / "config.yaml"), "--ckpt_path", last]
    assert tiny.geqlib([*again, "--trainer.max_epochs", "3"]) == 0
    assert tiny.geqlib(["test", str(run)]) == 0


# --- schedules of a task -------------------------------------------------------------------------


def test_a_plateau_falls_as_torchs() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.rand(60, generator=draw).cumsum(0).sin().tolist()
    for mode in ("min", "max"):
        own = Plateau(lambda step: 1.0, patience=2, factor=0.7, mode=mode)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode, factor=0.7, patience=2, threshold=0.0, eps=0.0
        )
        for value in values:
            own.observe(value)
            torchs.step(value)
            assert own(0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert own(0) < 0.1


def test_a_plateau_follows_the_monitored_metric(tmp_path: Path) -> None:
    """The rate of each epoch from the logged metrics of those before."""
    rates = Rates()
    seen: list[float] = []

    class Values(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if not trainer.sanity_checking:
                seen.append(float(trainer.callback_metrics["val/mae"]))

    settings = {"schedule": {"plateau": {"patience": 0, "factor": 0.5}}, "warmup": 0.0, "lr": 0.5}
    run = regression(tmp_path / "run", 8, task=settings, callbacks=[rates, Values()])
    fit(run)
    best, rate, expected = float("inf"), 0.5, [0.5]
    for value in seen[:-1]:
        rate, best = (rate, value) if value < best else (rate / 2, best)
        expected.append(rate)
    assert expected[-1] < 0.5
    assert rates.rates[1::2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda share: 1.0),
        (
            {"cosine": {"after": 0.75}},
            lambda s: (1 + math.cos(math.pi * (4 * s - 3))) / 2 if s > 0.75 else 1.0,
        ),
        ({"step": {"at": [0.25, 0.5], "factor": 0.5}}, lambda s: 0.5 ** ((s >= 0.25) + (s >= 0.5))),
    ],
)
def test_schedules_by_their_formulas(schedule: Any, expected: Any) -> None:
    factor = rate_factor(schedule, 0.1, steps=40, timer=None, mode=None)
    for step in range(40):
        rise = min((step + 1) / 4, 1)
        assert factor(step) == pytest.approx(rise * expected(step / 40), rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("linear", "schedule is 'linear': choose one of cosine, constant, plateau, step"),
        ({"step": {"when": [3]}}, "The schedule 'step' has no setting 'when': it has at, factor"),
        (
            {"cosine": {"factor": 0.1}},
            "The schedule 'cosine' has no setting 'factor': it has after",
        ),
        ({"constant": {"factor": 0.1}}, "The schedule 'constant' has no setting .* none"),
        ({"cosine": {"after": 1}}, r"after of the schedule is a share of all steps in \[0, 1\)"),
        ({"step": {"at": [30]}}, r"shares of all steps in \(0, 1\), got \[30\]"),
        ({"plateau": {"factor": 2}}, "factor of the schedule"),
        ({"plateau": {"patience": -1}}, "patience of the schedule"),
        ({"step": {}, "plateau": {}}, "choose one of"),
    ],
)
def test_schedules_that_there_are_not(schedule: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        schedule_settings(schedule)


def test_what_a_schedule_needs() -> None:
    def factor(schedule: Any, warmup: float = 0.0) -> Any:
        return rate_factor(schedule, warmup, steps=float("inf"), timer=None, mode="min")

    assert factor("constant")(10**6) == factor("plateau")(3) == 1.0
    with pytest.raises(ValueError, match=r"Warm-up is up to the end.*or warmup to 0"):
        factor("constant", 0.1)
    with pytest.raises(ValueError, match=r"falls until the end.*set trainer\.max_epochs"):
        factor("step")
    with pytest.raises(ValueError, match='"plateau" waits for the monitored metric'):
        rate_factor("plateau", 0.0, steps=10, timer=None, mode=None)


# --- stages of the loss --------------------------------------------------------------------------


def potential(folder: Path, epochs: int = 4, *, task: dict[str, Any], **options: Any) -> Run:
    model, data, monitor = parts("energy", folder.with_name(f"{folder.name}-data"))
    torch.manual_seed(0)
    own = EnergyForces(model.model, lr=1e-2, **task)
    trainer = {"max_epochs": epochs, "accelerator": "cpu", "default_root_dir": folder}
    return Run(own, data, trainer | {"enable_progress_bar": False} | options, monitor=monitor)


FIRST = {"energy_weight": 1.0, "forces_weight": 10.0}
LATE = {"energy_weight": 50.0, "forces_weight": 5.0}


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"cuda_graphs": True}], ids=["plain", "padded"])
def test_stages_are_two_runs_of_which_the_second_resumes_the_first(
    more: dict[str, Any], tmp_path: Path
) -> None:
    staged = {**FIRST, **more, "stages": [{"after_epoch": 2, **LATE}]}
    whole = fit(potential(tmp_path / "whole", task=staged))
    fit(potential(tmp_path / "two", task=FIRST | more, callbacks=[Stop(2)]))
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    two = fit(potential(tmp_path / "two", task=LATE | more), ckpt_path=last)
    assert_equal(state(whole), state(two))
    without = fit(potential(tmp_path / "without", task=FIRST | more))
    pairs = zip(whole.task.parameters(), without.task.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_stages_resume_exactly(tmp_path: Path) -> None:
    staged = {**FIRST, "stages": [{"after_epoch": 1, **LATE}, {"after_epoch": 3, **FIRST}]}

    def make(folder: Path, **options: Any) -> Run:
        return potential(folder, task=staged, **options)

    whole, again = resumed(tmp_path, make)
    assert_equal(state(whole), state(again))


def test_the_validation_loss_has_the_last_weights(tmp_path: Path) -> None:
    staged = {**FIRST, "stages": [{"after_epoch": 1, **LATE}]}
    run = potential(tmp_path / "run", task=staged)
    run.data.setup()
    batch = next(iter(run.data.val_dataloader()))
    errors = label_errors(run.task.predict_outputs(batch), batch)
    parts_of = {"energy_weight": "energy_per_atom", "forces_weight": "forces"}
    expected = sum(w * errors[parts_of[k]].error.square().mean() for k, w in LATE.items())
    assert run.task.metrics(batch, "val")["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_weights_of_each_epoch() -> None:
    late = [{"after_epoch": 2, "energy_weight": 9.0}, {"after_epoch": 4, "forces_weight": 3.0}]
    stages = loss_stages({"energy": 1.0, "forces": 2.0}, late)
    each = [tuple(weights_at(stages, epoch).values()) for epoch in range(6)]
    assert each == [(1, 2), (1, 2), (9, 2), (9, 2), (9, 3), (9, 3)]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"after_epoch": 2, "enery_weight": 1.0}, "has no 'enery_weight': it has after_epoch, and"),
        ({"energy_weight": 1.0}, "it has after_epoch"),
        ({"after_epoch": 2}, "it has after_epoch"),
        ({"after_epoch": 0, "energy_weight": 1.0}, "after_epoch is 0 after 0"),
        ({"after_epoch": 2, "energy_weight": -1.0}, "must not be negative"),
    ],
)
def test_stages_that_make_no_sense(stage: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EnergyForces(nn.Identity(), stages=[stage])


def test_a_stage_after_the_end(tmp_path: Path) -> None:
    staged = {"stages": [{"after_epoch": 4, **LATE}]}
    with pytest.raises(ValueError, match="begins after epoch 4, but the run has 4 epochs"):
        fit(potential(tmp_path / "run", task=staged))


def test_a_label_of_a_late_stage_is_asked_for_at_once(tmp_path: Path) -> None:
    staged = {"stages": [{"after_epoch": 2, "stress_weight": 1.0}]}
    run = potential(tmp_path / "run", task=staged)
    run.data.labels = run.data.labels.__class__(**{**vars(run.data.labels), "stress": None})
    with pytest.raises(ValueError, match=r"has no stress, but stress_weight is 1\.0"):
        fit(run)


# --- early stopping ------------------------------------------------------------------------------


class Worse(L.Callback):
    """Makes the monitored metric worse from the second epoch on."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("val/worse", float(trainer.current_epoch >= 1) + trainer.current_epoch)


def worse(folder: Path, **options: Any) -> Run:
    run = small_run("regression", folder, max_epochs=9, **options)
    run.monitor, run.early_stopping, run.callbacks = "val/worse", 2, [Worse()]
    return run


def test_it_stops_when_the_metric_has_not_improved(tmp_path: Path) -> None:
    """Best at epoch 1, and then patience of two."""
    run = fit(worse(tmp_path / "run"))
    assert state(run)["epoch"] == 2


def test_a_stopped_run_that_is_resumed_stays_stopped(tmp_path: Path) -> None:
    before = state(fit(worse(tmp_path / "run")))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    again = fit(worse(tmp_path / "run"), ckpt_path=last)
    assert_equal(before, state(again))
    assert again.task.trainer.current_epoch == 3


def test_early_stopping_resumes_exactly(tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any = (), **options: Any) -> Run:
        return worse(folder, callbacks=list(callbacks), **options)

    whole, again = resumed(tmp_path, make, after=1)
    assert_equal(state(whole), state(again))


@pytest.mark.parametrize("switch", [{"limit_val_batches": 0}, {"barebones": True}])
def test_nothing_to_wait_for(switch: dict[str, Any], tmp_path: Path) -> None:
    run = worse(tmp_path / "run", **switch)
    with pytest.raises(ValueError, match=r"early_stopping waits for val/worse, which .* leaves u"):
        fit(run)


def test_a_mode_that_waits_for_the_worse(tmp_path: Path) -> None:
    run = regression(tmp_path / "run", callbacks=[EarlyStopping("val/mae", mode="max")])
    with pytest.raises(ValueError, match="mode 'max', but the run's monitor_mode for val/mae is"):
        fit(run)
    with pytest.raises(ValueError, match="early_stopping must be at least 1"):
        StopEarly("val/mae", "min", 0)
