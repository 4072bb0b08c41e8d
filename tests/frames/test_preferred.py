"""Adaptive canonicalisation takes the copy of which the network is most confident."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.nn import FrameAveraging
from geqlib.testing import degenerate_sets, equivariance_error

TYPES = {"pos": "point"}


class Net(nn.Module):
    """Logits of three classes and a vector of a cloud, with no symmetry."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.head = nn.Linear(3, 16), nn.Linear(16, 6)

    def forward(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        y = self.head(torch.sin(2 * self.points(pos)).mean(0))
        return 4 * y[:3], y[3:]


def preferred(**options: Any) -> FrameAveraging:
    torch.manual_seed(0)
    outputs = ("graph:scalar", "graph:vector")
    net = Net().double()
    return FrameAveraging(net, "E(3)", inputs=TYPES, outputs=outputs, mode="argmax", **options)


def cloud(seed: int = 0) -> Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)).double()


def test_the_copy_is_the_most_confident_one() -> None:
    net, pos = preferred(), cloud()
    plan = net.plan(pos=pos)
    seen = [(pos - plan.shift[0]) @ matrix for matrix in plan.matrix]
    results = [net.module(x) for x in seen]
    confidences = torch.stack([logits.log_softmax(0).amax() for logits, _ in results])
    best = int(confidences.argmax())
    logits, vector = net(pos=pos)
    assert len(results) == 8 and confidences.std() > 1e-3
    assert (logits - results[best][0]).abs().max() < 1e-12
    assert (vector - plan.matrix[best] @ results[best][1]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["planar", "collinear", "tetrahedron", "cube", "coincident"])
def test_symmetric_sets(name: str) -> None:
    """Copies that equal each other are equally confident: their mean is taken."""
    inputs = {"pos": (degenerate_sets()[name], "point")}
    outputs = ("graph:scalar", "graph:vector")
    assert equivariance_error(preferred(), inputs, outputs, "E(3)") < 1e-12


def test_a_confidence_of_ones_own() -> None:
    shy = preferred(confidence=lambda outputs: -outputs[0].log_softmax(1).amax(1))
    sure, pos = preferred(), cloud()
    assert sure(pos=pos)[0].softmax(0).amax() > shy(pos=pos)[0].softmax(0).amax() + 1e-3
    outputs = ("graph:scalar", "graph:vector")
    assert equivariance_error(shy, {"pos": (pos, "point")}, outputs, "E(3)") < 1e-12


@pytest.mark.slow
def test_the_highest_confidence_has_no_jump_where_the_choice_changes() -> None:
    """Along a path of sets whose preferred frame changes; outputs may jump there."""
    net, (start, end) = preferred(), (cloud(1), cloud(2))
    values, choices = [], set()
    for share in torch.linspace(0, 1, 401, dtype=torch.float64):
        pos = torch.lerp(start, end, share) * torch.tensor([3.0, 2.0, 1.0]).double()
        plan = net.plan(pos=pos)
        seen = [(pos - plan.shift[0]) @ matrix for matrix in plan.matrix]
        confidences = torch.stack([net.module(x)[0].log_softmax(0).amax() for x in seen])
        signs = tuple(
            (plan.matrix[int(confidences.argmax())] * plan.matrix[0]).sum(0).sign().tolist()
        )
        choices.add(signs)
        values.append(net(pos=pos)[0].log_softmax(0).amax().detach())
    steps = torch.stack(values).diff().abs()
    assert len(choices) > 1
    assert steps.max() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "full", "confidence": torch.sum}, 'is for mode "argmax"'),
        ({"outputs": ("graph:vector", "graph:vector")}, 'needs an output of type "graph:scalar"'),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    defaults = {"mode": "argmax", "outputs": ("graph:scalar", "graph:vector")}
    with pytest.raises(ValueError, match=message):
        FrameAveraging(Net(), "E(3)", inputs=TYPES, **(defaults | options))


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (lambda outputs: outputs[0], "returned shape"),
        (lambda outputs: outputs[0][:, 0] * torch.nan, "returned NaN"),
    ],
)
def test_bad_confidences(confidence: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preferred(confidence=confidence)(pos=cloud())


class Sure(nn.Module):
    """Logits of two classes by the side on which the first point is, sure beyond rounding."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, pos: Tensor) -> Tensor:
        return self.logits[int(pos[0, 0] > 0)]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([[20.0, 0.0], [0.0, 14.0]], [20.0, 0.0]),
        ([[0.0, 14.0], [20.0, 0.0]], [20.0, 0.0]),
        ([[0.0, 20.0], [14.0, 0.0]], [0.0, 20.0]),
        ([[0.0, 20.0], [20.0, 0.0]], [20.0, 0.0]),  # of equally sure ones the first class
        ([[20.0, 0.0], [20.0, 0.0]], [20.0, 0.0]),
    ],
)
def test_probabilities_of_one_to_rounding(logits: list[list[float]], expected: list[float]) -> None:
    """The two copies under SO(2) are half a turn apart; neither is a mean over both."""
    pos = torch.tensor([[3.0, 0.1], [-1.0, 0.4], [-2.0, -0.5]])
    inputs = {"pos": "vector"}
    net = FrameAveraging(
        Sure(logits), "SO(2)", inputs=inputs, outputs="graph:scalar", mode="argmax"
    )
    assert len(net.plan(pos=pos).sample) == 2
    assert net(pos=pos).tolist() == expected


class Batched(nn.Module):
    """Logits of graphs of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Linear(3, 4)

    def forward(self, pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        y = torch.sin(2 * self.points(pos))
        return y.new_zeros(num_graphs, 4).index_add(0, batch, y)


def batched(confidence: Any = None) -> FrameAveraging:
    torch.manual_seed(0)
    options: dict[str, Any] = {"mode": "argmax", "confidence": confidence}
    outputs = "graph:scalar"
    return FrameAveraging(Batched().double(), "E(3)", inputs=TYPES, outputs=outputs, **options)


def test_with_a_plan_it_compiles_exports_and_is_vectorised() -> None:
    net, pos, batch = (
        batched(),
        torch.cat([cloud(), cloud(1)]),
        torch.arange(2).repeat_interleave(6),
    )
    plan, expected = net.plan(pos=pos, batch=batch), net(pos=pos, batch=batch)
    fixed = {"batch": batch, "num_graphs": 2, "plan": plan}
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.equal(compiled(pos=pos, **fixed), expected)
    program = torch.export.export(net, (), {"pos": pos, **fixed})
    assert torch.equal(program.module()(pos=pos, **fixed), expected)
    many = torch.func.vmap(lambda x: net(pos=x, **fixed))(torch.stack([pos, pos]))
    assert torch.equal(many, torch.stack([expected, expected]))


@pytest.mark.parametrize(
    "values",
    [[torch.inf, 0.0], [torch.inf, torch.inf], [-torch.inf, -torch.inf], [1, 0], [True, False]],
)
def test_confidences_of_any_number(values: list[float]) -> None:
    """Infinite ones and integers: the weights are those of equally confident copies."""
    count = 8

    def confidence(y: Tensor) -> Tensor:
        few = torch.tensor(values)
        return torch.cat([few, few[1:].expand(count - 2)])

    net, pos = batched(confidence), cloud()
    seen = net.plan(pos=pos, batch=torch.zeros(6).long())
    copies = torch.stack([net.module((pos - seen.shift[0]) @ m, torch.zeros(6).long(), 1)[0]
                          for m in seen.matrix])  # fmt: skip
    alike = torch.tensor(values + values[1:] * (count - 2))
    expected = copies[alike == alike.max()].mean(0)
    assert (net(pos=pos, batch=torch.zeros(6).long())[0] - expected).abs().max() < 1e-12
