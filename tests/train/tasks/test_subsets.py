"""The task of subsets: loss and metrics by hand, bad sets refused, EquiVSet learns."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Batch

from geqlib.data import SubsetData
from geqlib.models import EquiVSet
from geqlib.train import SubsetTask
from geqlib.train.check import symmetry_errors
from geqlib.train.tasks.subsets import cross_entropies

BATCH = torch.tensor([0, 0, 0, 0, 1, 1])
Y = torch.tensor([1, 0, 0, 0, 1, 1])


class Constant(nn.Module):
    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def batch(y: Tensor = Y, index: Tensor = BATCH, sets: int = 2) -> Any:
    built = Batch(x=torch.randn(len(index), 2), y=y, batch=index)
    built._num_graphs = sets
    return built


LOGITS = [0.3, 0.5, -1.0, -2.0, 0.1, -0.1]


def test_metrics_by_hand() -> None:
    """Of {0} the top one is {1}, above 1/2 are {0, 1}; of {4, 5} the top two, above 1/2 is {4}."""
    task = SubsetTask(Constant(LOGITS))
    actual: Any = task.metrics(batch(), "val")
    assert float(actual["jaccard"]) == 0.5 and float(actual["jaccard_half"]) == 0.5
    errors = binary_cross_entropy_with_logits(torch.tensor(LOGITS), Y.float(), reduction="none")
    mean = (errors[:4].mean() + errors[4:].mean()) / 2
    torch.testing.assert_close(actual["loss"].detach(), mean)
    assert set(task.metrics(batch(), "test")) == {"jaccard_3", "jaccard_half_3", "loss_3"}
    out = task.predict_step(batch(), 0)
    assert out["chosen"].tolist() == [True, True, False, False, True, False]
    assert out["top"].tolist() == [False, True, False, False, True, True]


def test_the_loss_draws_as_many_others_as_there_are_chosen() -> None:
    logits = torch.tensor(LOGITS)
    errors = binary_cross_entropy_with_logits(logits, Y.float(), reduction="none")
    torch.manual_seed(0)
    draws = torch.stack([cross_entropies(logits, Y, BATCH, 2, equal=True) for _ in range(60)])
    expected = {round(float(errors[0] + errors[k]) / 2, 5) for k in (1, 2, 3)}
    assert {round(float(v), 5) for v in draws[:, 0]} == expected
    torch.testing.assert_close(draws[:, 1], errors[4:].mean().expand(60))  # there are no others


def test_all_others_count_on_request() -> None:
    """Each element of a set once, without a draw."""
    task = SubsetTask(Constant(LOGITS), negatives="all")
    errors = binary_cross_entropy_with_logits(torch.tensor(LOGITS), Y.float(), reduction="none")
    mean = (errors[:4].mean() + errors[4:].mean()) / 2
    torch.testing.assert_close(task.loss(batch()).detach(), mean)
    with pytest.raises(ValueError, match='"equal" or "all"'):
        SubsetTask(Constant(LOGITS), negatives="some")  # type: ignore[arg-type]


def test_the_recognition_network_is_trained_in_the_same_step() -> None:
    for start, trained in {"half": False, "copula": True}.items():
        net: Any = EquiVSet(2, 4, hidden=4, start=start)  # type: ignore[arg-type]
        SubsetTask(net).loss(batch()).backward()
        assert net.function.embed.weight.grad is not None
        assert trained == (net.recognition is not None)
        assert not trained or net.recognition.logit.weight.grad is not None


ERRORS = {
    "nothing chosen": (batch(0 * Y), "Set 0 of the batch has no element that is to be chosen"),
    "empty": (batch(index=2 * BATCH, sets=3), "Set 1 of the batch has no elements: leave it out"),
    "labels": (batch(torch.tensor([1, 0, 0, 2, 1, 1])), "goes from 0 to 2"),
    "shape": (batch(Y[:5]), "expected 1 for elements to be chosen"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_sets(case: str) -> None:
    bad, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        SubsetTask(Constant(LOGITS)).check_batch(bad)


WITH_NAN = [torch.nan, 0.5, -1.0, -2.0, 0.1, -0.1]


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_nothing_is_ranked_by_logits_that_are_nan(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence of all tasks comes before the choice, which would say another one."""

    def rank(*args: Any) -> Tensor:
        raise AssertionError("ranked")

    monkeypatch.setattr("geqlib.train.tasks.subsets.top_subsets", rank)
    data = SubsetData(batch_size=2, size=3, chosen=1, train=2, val=2, test=2, test_sizes=(3,))
    task = SubsetTask(Constant(WITH_NAN))
    options: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(**options, max_epochs=1, accelerator="cpu", enable_model_summary=False)
    with pytest.raises(ValueError, match="is NaN or infinite in"):
        getattr(trainer, stage)(task, datamodule=data)


def test_predictions_that_are_nan_rank_last() -> None:
    """Counted as 0, the logit of element 0 would be the highest of its set."""
    out = SubsetTask(Constant([torch.nan, -0.5, -1.0, -2.0, 0.1, -0.1])).predict_step(batch(), 0)
    assert out["top"].tolist() == [False, True, False, False, True, True]
    assert out["marginal"].isnan().tolist() == [True] + 5 * [False]


def test_metrics_without_a_trainer_name_the_element() -> None:
    with pytest.raises(ValueError, match="score of element 0 is NaN"):
        SubsetTask(Constant(WITH_NAN)).metrics(batch(), "val")


def test_outputs_of_another_shape() -> None:
    with pytest.raises(ValueError, match="a logit for each element"):
        SubsetTask(Constant(LOGITS[:5])).loss(batch())


def test_relabelling_changes_nothing() -> None:
    """Where values are sums, marginals do not depend on the draws, nor on their order."""
    net = EquiVSet(2, 4, hidden=4)
    net.function.of_subset = nn.Linear(4, 1)  # type: ignore[assignment]
    data = SubsetData(batch_size=2, size=6, chosen=2, train=4, val=2, test=2, test_sizes=(6,))
    errors = symmetry_errors(SubsetTask(net), data, samples=2)
    assert errors["relabelling S_n"]["float64"] < 1e-12


@pytest.mark.slow
def test_subsets_are_learnt() -> None:
    """A random subset has a Jaccard index of 0.09."""
    data = SubsetData(batch_size=32, size=20, chosen=3, train=128, val=64, test=1, test_sizes=(20,))
    data.setup()
    torch.manual_seed(0)
    net = EquiVSet(2, 16, hidden=32, background="superset", samples=4)
    task = SubsetTask(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(80):
        start = 32 * (step % 4)
        built: Any = data.splits["train"].__getitems__(range(start, start + 32))
        optimizer.zero_grad()
        task.loss(built).backward()
        optimizer.step()
    net.eval()
    held: Any = data.splits["val"].__getitems__(range(64))
    actual: Any = task.metrics(held, "val")
    assert float(actual["jaccard"]) > 0.35
