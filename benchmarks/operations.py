"""Operations of a step: what a GPU would launch, counted on a CPU.

Every call of torch's dispatcher counts, forward and backward, but for those that compute nothing:
views, and tensors that are only allocated. Plans are made before, and what works in pieces on a CPU
works on everything at once, as it does on a GPU. A call is about one kernel: a matrix product or a
sort is one call and may be more than one kernel.

The last column counts the same steps with the fused kernels chosen, as they are on a GPU: each
launch is one operation. They are not run here, so that those steps compute nothing of meaning; the
number of operations does not depend on what they compute.

    python benchmarks/operations.py
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.workloads import (
    CPU,
    Step,
    convolution,
    ego_nets,
    eigenvectors,
    frames,
    gaunt_potential,
    monoid,
    ponita,
    ponita_potential,
    power,
    product,
)
from geqlib.models import SPEN

# they are no views by the schema, but move nothing
IDLE = {
    "_unsafe_view",
    "_reshape_alias",
    "lift_fresh",
    "promote_types",
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
MATRICES = 600  # more than LAPACK takes over on a CPU
COLUMNS = (
    Column("forward", "forward"),
    Column("backward", "backward"),
    Column("total", "operations"),
    Column("bar", "at most"),
    Column("fused", "operations with fused kernels"),
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
        forward: returns a loss, or something that needs no gradient.
        bar: operations that it should take at most, forward and backward; None without one.
        without: the same with one part less, for what that part takes alone.
        leaves: tensors whose gradients are computed, into no gradients of an earlier step.
    """

    forward: Callable[[], Tensor]
    bar: int | None = None
    without: Workload | None = None
    leaves: tuple[Tensor, ...] = ()


@contextmanager
def with_kernels() -> Iterator[None]:
    """Plans are made for the fused kernels, which are chosen and counted, but not run.

    But for eigenvectors, which are computed: how frames are made goes by their values.
    """
    from triton.runtime.jit import KernelInterface

    def launched(kernel: Any, grid: Any) -> Callable[..., None]:
        def launch(*args: Any, **kwargs: Any) -> None:
            counting = _get_current_dispatch_mode()
            if isinstance(counting, Operations):
                counting.counts[kernel.__name__] += 1
            if kernel.__name__ == "_eigen3":
                with _disable_current_modes():
                    results, matrix = args[:2], args[2]
                    for result, part in zip(results, torch.linalg.eigh(matrix), strict=True):
                        result.copy_(part.flip(-1))

        return launch

    with (
        patch.object(KernelInterface, "__getitem__", launched),
        patch("geqlib.kernels.selection.DEVICES", {"cpu"}),
        patch("geqlib.graph.edges._has_kernels", lambda index: True),
    ):
        yield


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Without the pieces of a CPU."""
    first, second = (patch(name, WHOLE) for name in PIECES)
    with first, second:
        yield


def counted(workload: Workload) -> tuple[Counter[str], Counter[str]]:
    """Operations forward and backward, by name, of the part that `without` lacks."""
    with in_one_piece():
        derivatives(workload.forward(), workload.leaves)  # what is made once only
        with Operations() as ahead:
            loss = workload.forward()
        with Operations() as back:
            derivatives(loss, workload.leaves)
    if workload.without is not None:
        for all_of_it, less in zip((ahead, back), counted(workload.without), strict=True):
            all_of_it.counts.subtract(less)
    return ahead.counts, back.counts


def derivatives(loss: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """As a training step has them, whose gradients are None at first."""
    if leaves:
        torch.autograd.grad(loss, leaves, allow_unused=True)


def of_step(step: Step, bar: int | None = None, without: Step | None = None) -> Workload:
    """A step of `benchmarks.workloads`."""
    less = None if without is None else of_step(without)
    return Workload(step.forward if step.leaves else step, bar, less, step.leaves)


def workloads() -> dict[str, Workload]:
    """Steps at their own widths on few graphs: the number of operations is that of many."""
    few: dict[str, Any] = {"nodes": 32, "neighbors": 4, "channels": 8}
    narrow: dict[str, Any] = {"nodes": 32, "channels": 8}
    with_bars = {
        "PONITA, published n-body step": of_step(ponita(CPU, 4), 250),
        "GauntNet, energies and forces in training": of_step(gaunt_potential(CPU, 2), 350),
        "monoid GRU, a level of the tree": of_step(
            monoid(CPU, [16] * 4, kind="planned"), 15, monoid(CPU, [8] * 4, kind="planned")
        ),
        "SPEN, a symmetric layer": replace(spen(3), bar=40, without=spen(2)),
    }
    others = {
        "PONITA, the plan made in the step": ponita(CPU, 4, planned=False),
        "PONITA, bf16": ponita(replace(CPU, precision="bf16"), 4),
        "the published PONITA, direct": ponita(CPU, 4, direct=True),
        "PONITA, energies and forces in training": ponita_potential(CPU, 1),
        "GauntNet, energies and forces": gaunt_potential(CPU, 2, train=False),
    }
    for degree in (1, 2, 3):
        others[f"GauntConvolution, L = {degree}"] = convolution(CPU, degree, **few)
        others[f"e3nn uvu, L = {degree}"] = convolution(CPU, degree, form="uvu", **few)
    for degree in (2, 4):
        others[f"GauntTensorProduct, L = {degree}"] = product(CPU, degree, **narrow)
        others[f"e3nn uuu, L = {degree}"] = product(CPU, degree, method="e3nn", **narrow)
    others |= {
        "GauntTensorProduct, separable, L = 4": product(CPU, 4, method="separable", **narrow),
        "GauntPower, order 3, L = 3": power(CPU, 3, **narrow),
        "monoid GRU, sets of 16, planned": monoid(CPU, [16] * 4, kind="planned"),
        "monoid GRU, sets of 16": monoid(CPU, [16] * 4),
        "PyG LCM, sets of 16": monoid(CPU, [16] * 4, kind="LCM"),
        "SPEN, 4 layers, planned": ego_nets(CPU, 4, 10, kind="planned", update=False),
        "SPEN, 4 layers": ego_nets(CPU, 4, 10, update=False),
        "GIN, 4 layers": ego_nets(CPU, 4, 10, kind="GIN", update=False),
        "FAGNN": frames(CPU, MATRICES),
        "FAGNN, its backbone": frames(CPU, MATRICES, kind="backbone"),
        "FAGNN, FrameAveraging around the backbone": frames(CPU, MATRICES, kind="FrameAveraging"),
        "eigenvectors of 3 x 3 matrices": eigenvectors(CPU, MATRICES),
    }
    return with_bars | {name: of_step(step) for name, step in others.items()}


def spen(layers: int) -> Workload:
    """One graph, with the plan made before."""
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    model = SPEN(3, 2, channels=64, layers=layers, symmetric=True)
    x, plan = torch.randn(4, 3), model.plan(edge_index, 4)
    return Workload(
        lambda: model(x, edge_index, plan=plan).square().sum(), leaves=tuple(model.parameters())
    )


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", action="store_true", help="print which operations they are")
    names = parser.parse_args().names
    steps = {name: counted(workload) for name, workload in workloads().items()}
    fused = {}
    if find_spec("triton") is not None:
        with with_kernels():
            fused = {name: counted(workload) for name, workload in workloads().items()}
    rows = []
    for name, workload in workloads().items():
        ahead, back = steps[name]
        cells = {"forward": ahead.total(), "backward": back.total()}
        cells["total"] = sum(cells.values())
        if workload.bar is not None:
            cells["bar"] = workload.bar
        if name in fused and fused[name] != steps[name]:
            cells["fused"] = sum(part.total() for part in fused[name])
        rows.append(Row((name,), cells))
        for parts in (steps, fused) if names else ():
            if name in parts:
                sys.stdout.write(f"{name}: {sum(parts[name], Counter()).most_common()}\n")
    table = Table(("a step",), COLUMNS, tuple(rows), "total")
    publish(measured("operations", __doc__, [table]))


if __name__ == "__main__":
    start(main)
