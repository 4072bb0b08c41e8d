"""FrameAveraging keeps the contract, and equals explicit sums over group elements."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.copies import FrameCopies
from tests.contract import Case, Contract, Typed


class Backbone(nn.Module):
    """Messages with no symmetry but that of relabelling: four scalars and two vectors a node."""

    def __init__(self, dim: int = 3, level: str = "node") -> None:
        super().__init__()
        self.dim, self.level = dim, level
        self.first = nn.Linear(2 * dim + 2, 8)
        self.message = nn.Linear(17, 8)
        self.last = nn.Linear(8, 4 + 2 * dim)

    def reset_parameters(self) -> None:
        for layer in (self.first, self.message, self.last):
            layer.reset_parameters()

    def forward(
        self,
        pos: Tensor,
        vec: Tensor,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor,
        batch: Tensor | None = None,
        num_graphs: int = 1,
    ) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.first(torch.cat([pos, vec[:, 0], x], -1)))
        source, target = edge_index
        m = torch.tanh(self.message(torch.cat([h[source], h[target], edge_attr], -1)))
        h = torch.tanh(self.last(h + h.new_zeros(h.shape).index_add(0, target, m.to(h.dtype))))
        if self.level == "graph":
            number = torch.zeros(len(h), dtype=torch.long) if batch is None else batch
            h = h.new_zeros(num_graphs, h.size(1)).index_add(0, number, h)
        return h[:, :4], h[:, 4:].unflatten(1, (2, self.dim))


TYPES = {
    "pos": "point",
    "vec": "vector",
    "x": "scalar",
    "edge_index": "edge_index",
    "edge_attr": "edge_scalar",
}


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    n = len(pos)
    supplied = {
        "pos": pos,
        "vec": 0.0 * pos[:, None] if n < 2 else pos[:, None] - pos.roll(1, 0)[:, None],
        "x": torch.ones(n, 2, dtype=torch.float64),
        "edge_index": edge_index,
        "edge_attr": torch.ones(edge_index.size(1), 1, dtype=torch.float64),
    }
    typed = {name: (x, TYPES[name]) for name, x in supplied.items()}
    return typed | {"batch": (torch.zeros(n, dtype=torch.long), "batch")}


def averaged(
    group: str, outputs: Any = ("scalar", "vector"), dim: int = 3, level: str = "node", **more: Any
) -> FrameAveraging:
    return FrameAveraging(Backbone(dim, level), group, inputs=TYPES, outputs=outputs, **more)


def size(net: FrameAveraging, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs}


class Named(nn.Module):
    """What torch.export asks for: arguments by name."""

    def __init__(self, group: str, outputs: Any) -> None:
        super().__init__()
        self.net = averaged(group, outputs)

    def reset_parameters(self) -> None:
        self.net.reset_parameters()

    def forward(
        self,
        pos: Tensor,
        vec: Tensor,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor,
        batch: Tensor,
        num_graphs: int,
        plan: FrameCopies,
    ) -> Any:
        supplied = {
            "pos": pos,
            "vec": vec,
            "x": x,
            "edge_index": edge_index,
            "edge_attr": edge_attr,
        }
        return self.net(**supplied, batch=batch, num_graphs=num_graphs, plan=plan)


@torch.no_grad()
def plan(built: Named, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs, "plan": built.net.plan(**tensors, num_graphs=graphs)}


BOTH = ("scalar", "vector")
MADE = "the number of frames depends on the points: the case 'made before' has them as an argument"
COSETS = "of vectors, derivatives across symmetric sets need every frame; tested for scalars below"
JUMPS = "it jumps at symmetric sets, whose copies are equally confident, and between preferences"
PREFERENCE = "rounding to bfloat16 changes which of two copies is preferred"
HIDDEN = "frames depend on values, which vmap hides; test_functional says how it is refused"
LATER = {"compile": MADE, "export": MADE, "vmap": HIDDEN}


def case(name: str, group: str, outputs: Any = BOTH, **more: Any) -> Case:
    exceptions, dim = LATER | more.pop("exceptions", {}), more.get("dim", 3)
    build, exact = partial(averaged, group, outputs, **more), (group.removeprefix("S_n x "),)
    return Case(name, build, graph, outputs, exact, size, dim, exceptions=exceptions)


class TestContract(Contract):
    cases = (
        case("E(3)", "E(3)"),
        Case("made before", partial(Named, "E(3)", BOTH), graph, BOTH, ("E(3)",), plan),
        case("SE(3) graphs", "SE(3)", ("graph:scalar", "graph:vector"), level="graph"),
        case("weighted", "E(3)", mode="weighted"),
        case("minimal", "S_n x E(3)", mode="minimal", exceptions={"derivatives": COSETS}),
        case("learned", "E(3)", mode="learned"),
        case("E(2)", "E(2)", dim=2),
        case(
            "argmax",
            "E(3)",
            ("graph:scalar", "graph:vector"),
            level="graph",
            mode="argmax",
            exceptions={"derivatives": JUMPS, "autocast": PREFERENCE},
        ),
    )
