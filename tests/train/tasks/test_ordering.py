"""The task of ordering views: views, loss and metrics by hand, bad input refused, it is learnt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from geqlib.data import PointCloudData
from geqlib.frames.ordering_loss import group_ordering_losses
from geqlib.models import MessagePassingNet, PointNet
from geqlib.train import GroupOrderingTask
from geqlib.train.check import symmetry_errors
from geqlib.train.run import Run, fit
from geqlib.train.tasks.ordering import similarities
from geqlib.train.tasks.views import ViewChanges, view_of

TYPES = GroupOrderingTask.inputs


class Means(nn.Module):
    """The mean of the positions of each graph, times a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        total = pos.new_zeros(num_graphs, 3).index_add(0, batch, pos)
        return self.factor * total / torch.bincount(batch, minlength=num_graphs)[:, None]


def batch(sizes: tuple[int, ...] = (4, 1, 5)) -> Any:
    """Complete graphs of these sizes; the position of a node is its number."""
    graph = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    nodes = len(graph)
    edges = ((graph[:, None] == graph) & ~torch.eye(nodes, dtype=torch.bool)).nonzero().T
    return Batch(
        x=torch.ones(nodes, 2),
        pos=torch.arange(nodes).float()[:, None].repeat(1, 3),
        edge_index=edges,
        edge_attr=edges.T.float(),
        y=torch.arange(len(sizes)) % 2,
        batch=graph,
        ptr=torch.tensor([0, *torch.tensor(sizes).cumsum(0)]),
    )


def test_views_leave_out_nodes_and_edges() -> None:
    torch.manual_seed(0)
    whole: Any = batch()
    for _ in range(20):
        view: Any = view_of(whole, TYPES, ViewChanges(drop_nodes=0.6, drop_edges=0.3))
        assert view.num_graphs == 3 and "y" not in view and "plan" not in view
        counts = torch.bincount(view.batch, minlength=3)
        assert counts.min() >= 1 and view.ptr.diff().tolist() == counts.tolist()
        old = view.pos[:, 0].long()  # the number that each node had
        assert torch.equal(view.batch, whole.batch[old])
        assert torch.equal(old[view.edge_index], view.edge_attr.T.long())
        pairs = {tuple(pair) for pair in view.edge_index.T.tolist()}
        assert all((b, a) in pairs for a, b in pairs)
    assert len(old) < 10


def test_views_without_changes_are_the_graphs() -> None:
    whole: Any = batch()
    view: Any = view_of(whole, TYPES, ViewChanges())
    for name in TYPES:
        assert name == "vec" or torch.equal(view[name], whole[name])


def test_masks_and_noise() -> None:
    torch.manual_seed(0)
    whole: Any = batch((400,))
    whole.edge_index, whole.edge_attr = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 2)
    view: Any = view_of(whole, TYPES, ViewChanges(mask=0.25, noise=0.1))
    masked = (view.x == 0).all(1)
    assert 60 < int(masked.sum()) < 140 and (view.x[~masked] == 1).all()
    assert 0.08 < float((view.pos - whole.pos).std()) < 0.12


def test_the_loss_by_hand() -> None:
    """Of three views, which noise makes different: anchors by anchors."""
    task = GroupOrderingTask(Means(), views=3, negatives=1, noise=5.0)
    whole: Any = batch()
    torch.manual_seed(3)
    actual = task.loss(whole)
    torch.manual_seed(3)
    views = [view_of(whole, TYPES, task.changes) for _ in range(3)]
    means = [Means()(v.pos, v.batch, 3) for v in views]  # type: ignore[attr-defined]
    unit = [m / m.norm(dim=1, keepdim=True) for m in means]
    losses = []
    for k in range(3):
        for i in range(3):
            own = [unit[k][i] @ unit[n][i] for n in range(3) if n != k]
            other = max(unit[k][i] @ unit[k][j] for j in range(3) if j != i)
            losses.append(group_ordering_losses(torch.stack(own)[None], other[None, None]))
    torch.testing.assert_close(actual, torch.stack(losses).mean())


def test_gradients_are_those_of_the_anchor() -> None:
    one, two = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    (own, others), _ = similarities([one, two])
    assert own.shape == (3, 1) and others.shape == (3, 2)
    (own.sum() + others.sum()).backward()
    assert two.grad is None and one.grad is not None
    expected = two.detach() + one.detach().sum(0) - one.detach()
    torch.testing.assert_close(one.grad, expected)


def test_metrics() -> None:
    task = GroupOrderingTask(Means(), noise=1e-3)
    whole: Any = batch()
    whole.pos = torch.eye(3)[whole.batch]
    state = torch.random.get_rng_state()
    actual: Any = task.metrics(whole, "val")
    assert torch.equal(state, torch.random.get_rng_state())
    again: Any = task.metrics(whole, "val")
    assert float(actual["ordered"]) == 1.0
    assert torch.equal(actual["loss"], again["loss"])
    assert set(actual) == {"loss", "ordered", "nearest"}
    alone: Any = batch((3,))
    assert task.metrics(alone, "val") == {}
    loss = task.loss(alone)
    loss.backward()
    assert loss.item() == 0 and task.model.factor.grad.abs().max() == 0  # type: ignore[union-attr]


def test_relabelling_changes_no_embedding() -> None:
    data = PointCloudData(train=8, val=8, test=8, points=16, batch_size=4)
    task = GroupOrderingTask(PointNet(4, channels=4), rotate=True)
    errors = symmetry_errors(task, data, samples=2)
    assert errors["relabelling S_n"]["float64"] < 1e-12


OPTIONS: dict[str, dict[str, Any]] = {
    "all views of a graph would be alike": {"noise": 0.0, "drop_nodes": 0.0},
    "views=1, negatives=10": {"views": 1},
    "views=2, negatives=0": {"negatives": 0},
    "steepness=0.0": {"steepness": 0.0},
    r"drop_nodes is a probability in \[0, 1\), got 1.0": {"drop_nodes": 1.0},
    "mask is a probability": {"mask": -0.1},
    "noise is a standard deviation": {"noise": -1.0},
}


@pytest.mark.parametrize("message", OPTIONS)
def test_bad_options(message: str) -> None:
    options: dict[str, Any] = {"noise": 0.1} | OPTIONS[message]
    with pytest.raises(ValueError, match=message):
        GroupOrderingTask(Means(), **options)


def test_other_embeddings_are_refused() -> None:
    task = GroupOrderingTask(MessagePassingNet(2, 4, channels=4, layers=1), mask=0.1)
    task.model = nn.Identity()
    task.forward = lambda batch: torch.zeros(2)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"Identity returns \(2,\) for 3 graphs: an embedding"):
        task.loss(batch())


def test_batches_of_one_graph_are_refused(tmp_path: Any) -> None:
    data = PointCloudData(train=4, val=4, test=4, points=8, batch_size=1)
    task = GroupOrderingTask(PointNet(4, channels=4), noise=0.1)
    options = {"default_root_dir": str(tmp_path), "max_epochs": 1, "logger": False}
    with pytest.raises(ValueError, match="batch_size is 1, and the other graphs of a batch"):
        fit(Run(task, data, options))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["graphs", "points"])
def test_embeddings_are_learnt(kind: str) -> None:
    """After sixty steps more views are in order."""
    torch.manual_seed(0)
    whole: Any = batch(tuple(range(3, 15)))
    whole.x = torch.randn(len(whole.x), 2)
    net: Any = MessagePassingNet(2, 8, channels=16, layers=2)
    task = GroupOrderingTask(net, drop_nodes=0.1, drop_edges=0.1)
    if kind == "points":
        number = torch.arange(12).repeat_interleave(16)  # clouds of other proportions
        pos = torch.randn(192, 3) * torch.rand(12, 3)[number]
        whole = Batch(pos=pos, batch=number)
        whole.ptr = torch.arange(13) * 16
        net = PointNet(8, channels=16)
        task = GroupOrderingTask(net, noise=0.1, drop_nodes=0.1)
    with torch.no_grad():
        before: Any = task.metrics(whole, "val")
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(whole).backward()
        optimizer.step()
    with torch.no_grad():
        after: Any = task.metrics(whole, "val")
    assert after["loss"] < before["loss"] - 0.01
    assert after["ordered"] > before["ordered"] + 0.2
