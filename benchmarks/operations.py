"""Operations of a step: what a GPU would launch, counted on a CPU.

Every call of torch's dispatcher counts, forward and backward, but for those that compute nothing:
views, and tensors that are only allocated. Plans are made before, and what works in pieces on a CPU
works on everything at once, as it does on a GPU. A call is about one kernel: a matrix product or a
sort is one call and may be more than one kernel.

    python benchmarks/operations.py
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.atoms.forces import energy_forces
from geqlib.atoms.potential import Potential
from geqlib.data import NBodyData
from geqlib.graph import radius_graph
from geqlib.models import PONITA, SPEN, GauntNet
from geqlib.monoid.tree import tree_plan
from geqlib.nn import MonoidAggregation

# they are no views by the schema, but move nothing
IDLE = {
    "_unsafe_view",
    "_reshape_alias",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "resize_",
    "set_",
}
PIECES = ("geqlib.kernels.edge_product.PIECE", "geqlib.gaunt.product.PIECE")
WHOLE = 2**60  # bytes: one piece
COLUMNS = (
    Column("forward", "forward"),
    Column("backward", "backward"),
    Column("total", "operations"),
    Column("bar", "at most"),
)


class Operations(TorchDispatchMode):
    """Counts the operations inside the context, by name.

    Example:
        >>> with Operations() as operations:
        ...     y = (torch.ones(2, 3).T + 1).sum()
        >>> operations.total, operations.counts["sum"]
        (3, 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if not func.is_view and name not in IDLE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Workload:
    """A step, made ready: what is computed before its backward pass, and its bar.

    Args:
        forward: returns a loss.
        bar: operations that it should take at most, forward and backward.
        without: the same with one part less, for what that part takes alone.
    """

    forward: Callable[[], Tensor]
    bar: int
    without: Callable[[], Tensor] | None = None


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Without the pieces of a CPU."""
    first, second = (patch(name, WHOLE) for name in PIECES)
    with first, second:
        yield


def counted(forward: Callable[[], Tensor]) -> tuple[Counter[str], Counter[str]]:
    """Operations forward and backward, by name."""
    with in_one_piece():
        forward().backward()  # what is made once only
        with Operations() as ahead:
            loss = forward()
        with Operations() as back:
            loss.backward()
    return ahead.counts, back.counts


def of_workload(workload: Workload) -> tuple[Counter[str], Counter[str]]:
    """The same, of the part that `without` lacks."""
    ahead, back = counted(workload.forward)
    if workload.without is not None:
        for all_of_it, less in zip((ahead, back), counted(workload.without), strict=True):
            all_of_it.subtract(less)
    return ahead, back


def workloads() -> dict[str, Workload]:
    torch.manual_seed(0)
    return {
        "PONITA, published n-body step": Workload(published_ponita(), 250),
        "GauntNet, energies and forces in training": Workload(gaunt_net(), 350),
        "monoid GRU, a level of the tree": Workload(monoid(16), 15, monoid(8)),
        "SPEN, a symmetric layer": Workload(spen(3), 40, spen(2)),
    }


def published_ponita() -> Callable[[], Tensor]:
    """The sizes of the published n-body experiment, but for the number of graphs."""
    data = NBodyData(
        100, train=4, val=1, test=1, input_frame=0, target_frame=1, charge_products=True
    )
    data.prepare_data()
    data.setup()
    batch = data.splits["train"].__getitems__(range(4))
    model = PONITA(1, 1, 0, 1, edge_dim=1, channels=128, basis=256, layers=5, orientations=16)
    plan = model.plan(batch.edge_index, batch.num_nodes, batch.edge_attr)

    def forward() -> Tensor:
        out = model(batch.pos, batch.edge_index, batch.x, batch.vec, batch.edge_attr, plan=plan)
        return out[1].square().mean()

    return forward


def gaunt_net() -> Callable[[], Tensor]:
    """Molecules as large as 3BPA: energies, forces and the loss of both."""
    net = GauntNet(
        ["H", "C", "N", "O"], channels=128, degree=3, hidden_degree=1, order=3, layers=2, cutoff=5.0
    )
    potential = Potential(net)
    batch = torch.arange(2).repeat_interleave(27)
    pos, z = 3 * torch.rand(54, 3), torch.tensor([1, 6, 7, 8])[torch.arange(54) % 4]
    edge_index = radius_graph(pos, 5.0, batch)
    graphs = {"z": z, "edge_index": edge_index, "batch": batch, "num_graphs": 2}
    plan = net.plan(edge_index, len(pos))

    def forward() -> Tensor:
        out = energy_forces(potential, pos, **graphs, plan=plan, create_graph=True, check=False)
        return out["energy"].square().mean() + out["forces"].square().mean()

    return forward


def monoid(size: int) -> Callable[[], Tensor]:
    """Sets of a power of two: log2 levels."""
    aggregation = MonoidAggregation(64, operator="gru")
    x = torch.randn(4 * size, 64, requires_grad=True)
    plan = tree_plan(torch.arange(4).repeat_interleave(size), 4)
    return lambda: aggregation(x, plan=plan).square().sum()


def spen(layers: int) -> Callable[[], Tensor]:
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    model = SPEN(3, 2, channels=64, layers=layers, symmetric=True)
    x, plan = torch.randn(4, 3), model.plan(edge_index, 4)
    return lambda: model(x, edge_index, plan=plan).square().sum()


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", action="store_true", help="print which operations they are")
    names = parser.parse_args().names
    rows = []
    for name, workload in workloads().items():
        ahead, back = of_workload(workload)
        parts = {"forward": ahead.total(), "backward": back.total()}
        rows.append(Row((name,), parts | {"total": sum(parts.values()), "bar": workload.bar}))
        if names:
            sys.stdout.write(f"{name}: {(ahead + back).most_common()}\n")
    table = Table(("a step",), COLUMNS, tuple(rows), "total")
    publish(measured("operations", __doc__, [table]))


if __name__ == "__main__":
    start(main)
