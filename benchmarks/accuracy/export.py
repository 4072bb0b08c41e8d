"""Which models torch.export and AOTInductor take, for inputs of all sizes?

Protocol: each model in its first case of the contract suite, in float32, exported with all sizes
dynamic that differ between batches of two and of three graphs, with plans made before where the
model takes one; compiled by AOTInductor; then run on four graphs of other sizes. Numbers such as
`num_graphs`, which compiled programs cannot take, go in as the length of an empty tensor.
Potentials are programs of energy, forces and stress (`geqlib.files.export.forces_program`), run on
a crystal of 8 atoms and a single atom. The difference is the largest from the model itself,
relative to the largest output if that is more than 1. Finished models stay in runs/export.

    python benchmarks/accuracy/export.py [--models PONITA SPEN ...]
"""

from __future__ import annotations

import logging
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.utils._pytree as pytree
from rich.progress import track
from torch import Tensor, nn
from torch.export import ExportedProgram

sys.path.insert(0, str(Path(__file__).parents[2]))

import geqlib.models
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import finished, measured_by
from geqlib.files.export import TRACING, differing, forces_program, program_inputs
from geqlib.models import DPA3, PONITA, EScAIP, GauntNet, Potential, energy_forces
from tests.atoms.atoms import CUTOFF, fields, system
from tests.contract import SIZES, Case, join, random_graphs, values
from tests.properties.cases import all_cases

COLUMNS = (
    Column("exported", "torch.export"),
    Column("compiled", "AOTInductor"),
    Column("difference", "largest difference", "", ".0e"),
    Column("why", "obstacle"),
)
Run = Callable[..., Any]
WHY = {"RotationAverage": "it makes the plan of its copies itself"}
OTHERS = {  # cases that show what a part changes
    "MonoidGNN(MonoidAggregation)": "monoid networks: MonoidGNN gru",
    "FrameAveraging, frames made before": "frames averaging: made before",
}
SHORT = {"cutoff": CUTOFF, "switch": 2.5, "angle_cutoff": 2.5, "angle_switch": 2.0}
POTENTIALS: dict[str, Callable[[], nn.Module]] = {
    "Potential(PONITA)": lambda: PONITA(4, 0, 1, 0, channels=8, layers=1, cutoff=CUTOFF),
    "Potential(DPA3)": lambda: DPA3(16, 8, 8, compressed=8, layers=2, readout=[16], **SHORT),
    "Potential(GauntNet)": lambda: GauntNet([1, 6, 8], channels=4, degree=2, cutoff=CUTOFF),
    "Potential(EScAIP)": lambda: EScAIP(4, 1, channels=8, layers=2, heads=2, cutoff=CUTOFF),
}


class Lengths(nn.Module):
    """A module of tensors alone: numbers are the lengths of some of them, and switches stay."""

    def __init__(self, module: nn.Module, example: dict[str, Any]) -> None:
        super().__init__()
        self.module = module
        leaves, self.spec = pytree.tree_flatten(example)
        self.numbers = [is_number(leaf) for leaf in leaves]
        # True and False decide which operations there are
        self.switches = {k: leaf for k, leaf in enumerate(leaves) if isinstance(leaf, bool)}

    def inputs(self, arguments: dict[str, Any]) -> list[Tensor]:
        leaves = pytree.tree_leaves(arguments)
        return [
            torch.empty(leaf, 0) if is_number(leaf) else leaf
            for leaf in leaves
            if not isinstance(leaf, bool)
        ]

    def forward(self, tensors: list[Tensor]) -> Any:
        rest = iter(tensors)
        leaves = []
        for k, number in enumerate(self.numbers):
            if k in self.switches:
                leaves.append(self.switches[k])
                continue
            x = next(rest)
            leaves.append(x.size(0) if number else x)
        return self.module(**pytree.tree_unflatten(leaves, self.spec))


def is_number(leaf: Any) -> bool:
    """Whether an argument is a number, such as `num_graphs`, and no switch."""
    return isinstance(leaf, int) and not isinstance(leaf, bool)


def models() -> dict[str, Case]:
    """The first case of each model in the contract suite, and a few others."""
    cases = all_cases()
    first: dict[str, Case] = {}
    for case in cases.values():
        name = type(case.make()).__name__
        if name in geqlib.models.__all__ and name != "Potential":
            first.setdefault(name, case)
    return dict(sorted(first.items())) | {name: cases[key] for name, key in OTHERS.items()}


def measure(case: Case) -> dict[str, Any]:
    module = case.make(torch.float32).requires_grad_(False)
    inputs = []
    for sizes in SIZES:
        tensors = values(join(random_graphs(case, sizes)), torch.float32)
        inputs.append(pytree.tree_map(_contiguous, case.arguments(module, tensors, len(sizes))))
    flat = Lengths(module, inputs[0])
    examples = [(flat.inputs(keywords),) for keywords in inputs]
    expected = [case.tensors(module(**inputs[2]))]

    def compare(run: Run) -> float:
        return largest([case.tensors(run(*examples[2]))], expected)

    def export() -> ExportedProgram:
        sizes = pytree.tree_map(differing, *examples[:2])
        return torch.export.export(flat, examples[0], dynamic_shapes=sizes)

    return tried(export, compare, case)


def measure_potential(build: Callable[[], nn.Module]) -> dict[str, Any]:
    torch.manual_seed(0)
    potential = Potential(build()).eval().requires_grad_(False)
    inputs, expected = [], []
    for nodes, periodic in ((8, True), (1, False)):
        pos, z, cell = system(nodes, periodic=periodic)
        pos, cell = pos.float(), cell.float()
        inputs.append(program_inputs(potential, pos, z, cell=cell))
        outputs = energy_forces(potential, **fields(pos, z, cell[None]), stress=True)
        expected.append(list(outputs.values()))

    def compare(run: Run) -> float:
        return largest([list(run(**x).values()) for x in inputs], expected)

    return tried(lambda: forces_program(potential), compare)


def tried(
    export: Callable[[], ExportedProgram], compare: Callable[[Run], float], case: Case | None = None
) -> dict[str, Any]:
    """Export, compile and run; what failed first, and why."""
    exceptions = {} if case is None else case.exceptions
    outcome: dict[str, Any] = {"exported": False, "compiled": False, "difference": None, "why": ""}
    try:
        with TRACING.patch(backed_size_oblivious=True):
            program = export()
        outcome["difference"] = compare(program.module())
        outcome["exported"] = True
        with TemporaryDirectory() as folder:
            path = f"{folder}/program.pt2"
            torch._inductor.aoti_compile_and_package(program, package_path=path)
            outcome["difference"] = max(
                outcome["difference"], compare(torch._inductor.aoti_load_package(path))
            )
        outcome["compiled"] = True
    except Exception as error:
        outcome["error"] = " ".join(str(error).split())[:400]
        outcome["why"] = exceptions.get("export") or outcome["error"][:160]
    return outcome


def largest(outputs: Sequence[list[Tensor]], expected: Sequence[list[Tensor]]) -> float:
    pairs = [pair for one in zip(outputs, expected, strict=True) for pair in zip(*one, strict=True)]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", help="some of them: no result is written then")
    chosen = parser.parse_args().models
    warnings.simplefilter("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        name: lambda case=case: measure(case) for name, case in models().items()
    }
    runs |= {name: lambda make=make: measure_potential(make) for name, make in POTENTIALS.items()}
    outcomes = {
        name: finished(f"export/{name}", runs[name]) for name in track(chosen or list(runs))
    }
    table = Table(("model",), COLUMNS, tuple(row(name, x) for name, x in outcomes.items()))
    if chosen is None:
        publish(measured("accuracy/export", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def row(name: str, outcome: dict[str, Any]) -> Row:
    cells: dict[str, Cell] = {
        "exported": "yes" if outcome["exported"] else "no",
        "compiled": "yes" if outcome["compiled"] else "no",
        "why": WHY.get(name, outcome["why"].partition(": see")[0]),
        "error": outcome.get("error", ""),
    }
    if outcome["difference"] is not None:
        cells["difference"] = outcome["difference"]
    shown = {key: cell for key, cell in cells.items() if cell != ""}
    return Row((f"`{name}`",), shown, **measured_by([outcome]))


def _contiguous(x: Any) -> Any:
    return x.contiguous() if isinstance(x, Tensor) else x


if __name__ == "__main__":
    start(main)
