"""The recipe: augmentation, loss, metrics, optimiser and schedule equal their formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from geqlib.data import NBodyData
from geqlib.data.points.nbody import simulations
from geqlib.models import PONITA
from geqlib.train import DisplacementTask, Task
from geqlib.train.runs.record import RunRecord
from tests.train import tiny

quiet = pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts


class Fixed(nn.Module):
    """Vectors that depend on the input linearly: a little of each position and velocity."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.1, -0.2]]))

    def forward(self, pos, vec, x):
        shifts = torch.stack([x * pos, vec[:, 0]], 1)
        return pos.new_zeros(len(pos), 0), self.weight @ shifts


def batch(graphs=6, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    charge = rng.choice([-1.0, 1.0], (graphs, 5))
    pos, vel = rng.normal(size=(graphs, 2, 5, dim)), rng.normal(size=(graphs, 5, dim))
    return simulations(charge, pos, vel, charge_products=True).__getitems__(range(graphs))


def data(**options):
    sizes = tiny.config()["data"]["init_args"]
    return NBodyData(**(sizes | options))


def trainer(**options):
    plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(
        accelerator="cpu", enable_model_summary=False, **(plain | {"max_epochs": 1} | options)
    )


def losses(task, *batches):
    """What training_step returns, without a trainer to log to."""
    task.log = lambda *args, **options: None
    return [task.training_step(b, 0).item() for b in batches]


# --- augmentation --------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 3])
def test_each_graph_is_rotated_rigidly(dim):
    task, b = DisplacementTask(Fixed()), batch(dim=dim)
    before = b.clone()
    torch.manual_seed(0)
    turned = task.rotated(b)
    for key in ("x", "edge_index", "edge_attr", "batch", "ptr"):
        assert torch.equal(turned[key], b[key])
    rotations = []
    for graph in range(6):
        rows = b.batch == graph
        old, new = (
            torch.cat([d.pos[rows], d.vec[rows, 0], d.y[rows]]).double() for d in (b, turned)
        )
        rotation = torch.linalg.lstsq(old, new).solution
        # float32: 1e-7 times the norm of the rows, over the condition of 15 random rows
        assert torch.allclose(old @ rotation, new, rtol=0, atol=1e-5)
        assert torch.allclose(rotation @ rotation.T, torch.eye(dim).double(), rtol=0, atol=1e-5)
        assert torch.linalg.det(rotation) > 0
        rotations.append(rotation)
    assert min((a - c).abs().max() for a in rotations for c in rotations if a is not c) > 0.01
    assert all(torch.equal(b[key], before[key]) for key in ("pos", "vec", "y"))
    torch.manual_seed(0)
    assert torch.equal(task.rotated(b).pos, turned.pos)


def test_rotation_can_be_left_out():
    b = batch()
    assert DisplacementTask(Fixed(), rotate=False).rotated(b) is b


def test_conjugation_flips_whole_graphs():
    b, seen = batch(graphs=64), []

    class Spy(Fixed):
        def forward(self, pos, vec, x):
            seen.append(x)
            return super().forward(pos, vec, x)

    for conjugate in (True, False):
        losses(DisplacementTask(Spy(), conjugate=conjugate, rotate=False), b)
    sign = (seen[0] / b.x).view(64, 5)
    assert (sign == sign[:, :1]).all() and sign.abs().eq(1).all()
    assert 10 < (sign[:, 0] == 1).sum() < 54  # 64 fair coins: 32 +- 4, here 5.5 sigma
    assert torch.equal(seen[1], b.x)
    assert torch.equal(batch(graphs=64).x, b.x)


# --- loss and metrics ----------------------------------------------------------------------------


def numpy_errors(b, elapsed=0.0):
    """[graphs] mean squared error of `Fixed`, in numpy."""
    pos, vel, x = b.pos.numpy(), b.vec[:, 0].numpy(), b.x.numpy()
    predicted = pos + elapsed * vel + 0.1 * x * pos - 0.2 * vel
    return ((predicted - b.y.numpy()) ** 2).reshape(b.num_graphs, -1).mean(1)


@pytest.mark.parametrize("elapsed", [0.0, 0.7])
def test_losses_equal_their_formulas(elapsed):
    b = batch()
    errors = numpy_errors(b, elapsed)
    expected = {"mse": errors.mean(), "rmse": np.sqrt(errors + 1e-4).mean()}
    for loss, value in expected.items():
        (actual,) = losses(DisplacementTask(Fixed(), loss=loss, elapsed=elapsed, rotate=False), b)
        assert actual == pytest.approx(value, rel=1e-6)


def test_loss_does_not_depend_on_the_rotation():
    net = PONITA(1, 1, 0, 1, channels=8, layers=2, space="R3", edge_dim=1)
    # kernels of R3 are exactly invariant; float32
    values = losses(DisplacementTask(net), *[batch()] * 3)
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


@quiet
@pytest.mark.parametrize(("stage", "size"), [("validate", "val"), ("test", "test")])
def test_metrics_equal_numpy(stage, size):
    module = data(batch_size=4, **{size: 9})
    task = DisplacementTask(Fixed())
    (actual,) = getattr(trainer(), stage)(task, datamodule=module, verbose=False)
    module.setup()
    errors = numpy_errors(module.splits[size].__getitems__(range(9)))
    assert actual[f"{size}/mse"] == pytest.approx(errors.mean(), rel=1e-5)
    assert actual[f"{size}/median"] == pytest.approx(np.median(errors), rel=1e-5)
    (again,) = getattr(trainer(), stage)(task, datamodule=module, verbose=False)
    assert again == actual


@quiet
def test_diverged_model_is_not_measured():
    net = Fixed()
    nn.init.constant_(net.weight, math.nan)
    with pytest.raises(ValueError, match="NaN or infinite in batch 0 of validation: the weights"):
        trainer().validate(DisplacementTask(net), datamodule=data(), verbose=False)


# --- optimiser and schedule ----------------------------------------------------------------------


def configured(task, steps):
    stub = SimpleNamespace(
        estimated_stepping_batches=steps, gradient_clip_val=None, precision="32-true"
    )
    task.trainer = stub
    return task.configure_optimizers(), stub


def test_vectors_do_not_decay():
    net = PONITA(1, 1, 0, 1, channels=4, layers=2, layer_scale=1e-2)
    task = DisplacementTask(net, lr=0.1, weight_decay=0.5)
    actual, _stub = configured(task, 100)
    groups = actual["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    names = {id(p): name for name, p in net.named_parameters()}
    decayed, remaining = ({names[id(p)] for p in group["params"]} for group in groups)
    assert decayed | remaining == set(names.values()) and not decayed & remaining
    vectors = ("bias", "norm.weight", "layer_scale")
    assert remaining == {name for name in names.values() if name.endswith(vectors)}
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    rate = groups[0]["lr"]
    actual["optimizer"].step()
    for name, p in net.named_parameters():
        share = 1 - 0.5 * rate if name in decayed else 1.0
        assert torch.allclose(p, share * before[name], rtol=1e-6, atol=0), name


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (40, 0.0), (1, 0.05), (7, 0.5)])
def test_learning_rate_rises_linearly_and_falls_as_a_cosine(steps, warmup):
    task = DisplacementTask(Fixed(), lr=0.2, warmup=warmup)
    actual, _stub = configured(task, steps)
    optimizer, schedule = actual["optimizer"], actual["lr_scheduler"]["scheduler"]
    assert actual["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(steps + 2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rising = max(int(warmup * steps), 1)
    for step, rate in enumerate(rates[:steps]):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        assert rate == pytest.approx(0.2 * cosine * min((step + 1) / rising, 1), rel=1e-12)
    assert rates[steps:] == pytest.approx([0, 0], abs=1e-15)
    assert 0.19 * (1 - rising / steps) < max(rates) <= 0.2


def test_a_run_without_end_has_no_schedule():
    with pytest.raises(ValueError, match=r"max_epochs, trainer\.max_steps or trainer\.max_time"):
        configured(DisplacementTask(Fixed()), math.inf)


@pytest.mark.slow
@quiet
def test_overfitting_eight_graphs():
    """Three epochs of single graphs leave a fraction of the error of predicting no motion."""
    L.seed_everything(0, verbose=False)
    module = data(train=8, batch_size=1)
    task = DisplacementTask(PONITA(1, 1, 0, 1, channels=16, layers=2), lr=1e-2, rotate=False)
    run = trainer(max_epochs=3, limit_val_batches=0)
    run.fit(task, module)
    part = module.splits["train"]
    still = float(((part.pos - part.y) ** 2).mean())
    # 0.14 when measured
    assert float(run.callback_metrics["train/loss"]) < 0.3 * still


# --- bad graphs ----------------------------------------------------------------------------------


class Spoilt(NBodyData):
    """The last graph of a split has a position that is NaN."""

    spoilt = ""

    def setup(self, stage=None):
        super().setup(stage)
        if self.spoilt:
            self.splits[self.spoilt].pos[-3, 0] = math.nan


def spoilt(split, **options):
    module = Spoilt(**(tiny.config()["data"]["init_args"] | options))
    module.spoilt = split
    return module


@pytest.mark.slow
@quiet
def test_every_batch_of_the_first_pass_is_checked():
    # the sanity check before training sees two batches of nine, and validation comes late
    late = {"max_epochs": 2, "check_val_every_n_epoch": 2}
    for split in ("train", "val"):
        with pytest.raises(ValueError, match="pos is NaN or infinite at row"):
            trainer(**late).fit(DisplacementTask(Fixed()), spoilt(split, batch_size=1, train=6))
    for stage, split in (("validate", "val"), ("test", "test"), ("predict", "test")):
        with pytest.raises(ValueError, match="pos is NaN or infinite at row"):
            getattr(trainer(), stage)(DisplacementTask(Fixed()), datamodule=spoilt(split))


@quiet
def test_resumed_runs_check_their_graphs_too(tmp_path):
    task, path = DisplacementTask(Fixed()), tmp_path / "one.ckpt"
    short = {"batch_size": 2, "train": 6, "val": 2}
    one = trainer()
    one.fit(task, data(**short))
    one.save_checkpoint(path)
    with pytest.raises(ValueError, match="pos is NaN or infinite at row"):
        trainer(max_epochs=2).fit(task, spoilt("train", **short), ckpt_path=path)


# --- the rest ------------------------------------------------------------------------------------


def test_model_gets_what_its_forward_names():
    class Picky(nn.Module):
        def forward(self, pos, num_graphs, absent=None):
            assert absent is None
            return torch.full_like(pos, num_graphs)

    out = DisplacementTask(Picky(), rotate=False).predict_outputs(batch(graphs=2))["y"]
    assert torch.equal(out, batch(graphs=2).pos + 2)


def test_graphs_without_nodes_have_no_error():
    from geqlib.train.tasks.points import graph_errors

    b = SimpleNamespace(y=torch.zeros(2, 3), batch=torch.tensor([0, 2]), num_graphs=4)
    predicted = torch.tensor([[1.0, 2.0, 3.0], [3.0, 0.0, 0.0]])
    assert graph_errors(predicted, b).tolist() == pytest.approx([14 / 3, 0, 3, 0])


def test_predictions_without_graph_numbers_are_kept(tmp_path):
    record, batch = RunRecord(tmp_path, 0), SimpleNamespace(num_graphs=3)
    trainer = L.Trainer(accelerator="cpu", logger=False)
    for k in range(2):
        record.on_predict_batch_end(trainer, None, {"logits": torch.full((3, 2), k)}, batch, k)
    record.on_predict_end(trainer, None)
    actual = load_file(tmp_path / "predictions.safetensors")
    assert actual["logits"][:, 0].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lr": 0.0}, r"lr must be positive, got 0\.0"),
        ({"warmup": 1.0}, r"warmup is a share of all steps in \[0, 1\), got 1\.0"),
        ({"loss": "mae"}, 'loss must be "mse" or "rmse", got \'mae\''),
    ],
    ids=str,
)
def test_wrong_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DisplacementTask(Fixed(), **options)


def test_a_task_must_say_what_it_predicts():
    with pytest.raises(NotImplementedError, match="Task must define predict_outputs"):
        Task(Fixed()).predict_outputs(batch())
