"""Exporting a trained model: as one file of weights, or a potential as a program for torch alone.

A program is a potential traced into tensor operations: energies, forces and stress of one structure
of any size. `Energy` states its arguments; `forces_program` traces it with its derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
import torch.fx.experimental._config as fx_config
import torch.utils._pytree as pytree
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from geqlib import __version__
from geqlib.atoms.forces import derivatives_only, energy_forces
from geqlib.atoms.network import network_cutoff
from geqlib.atoms.potential import Potential
from geqlib.atoms.statistics import Energies
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import data_cutoff, load, model_header, read_stored
from geqlib.files.exported_program import (
    DTYPES,
    NAMES,
    NOTES,
    PlanKind,
    notes_of,
    plan_from_tensors,
    plan_kind,
    plan_tensors,
)
from geqlib.graph import neighbor_list

__all__ = [
    "Energy",
    "energy_program",
    "export_model",
    "export_program",
    "forces_program",
    "program_inputs",
]
TRACING: Any = fx_config
SIZES = (5, 7)  # atoms in the structures that a program is traced with


def export_model(checkpoint: str | Path, out: str | Path, level: str | None = None) -> None:
    """A checkpoint's model without the rest: `geqlib.load` reads it as it reads checkpoints.

    Args:
        checkpoint: of `geqlib fit`.
        out: the file.
        level: of theory, by name, that is meant where none is named, of a potential that was
            trained on several.

    Raises:
        ValueError: if the checkpoint is damaged, or does not say how its model was built, or the
            potential has no such level.
        OSError: if the file cannot be written.

    Example:
        >>> export_model("runs/water/checkpoints/best.ckpt", "water.geqlib")  # doctest: +SKIP
    """
    model, stored = load(checkpoint), read_stored(checkpoint)
    # tensors that share memory are not allowed in such a file
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    description = stored["hyper_parameters"]["model"]
    if level is not None:
        _potential(model, checkpoint).at_level(level)
        description = {
            **description,
            "init_args": {**description["init_args"], "level": level},
        }
    header = model_header(description, weights, data_cutoff(stored))
    replace_file(Path(out), lambda part: save_file(weights, part, metadata=header))


def export_program(
    model: str | Path | Potential,
    out: str | Path,
    *,
    compiled: bool = False,
    dtype: torch.dtype | None = None,
    level: str | None = None,
) -> None:
    """A potential with its derivatives, as a program that torch runs without geqlib.

    Its arguments and results are those of `forces_program`; `GeqCalculator` reads it. The file also
    holds `geqlib.json`: the cutoff, the elements, and which plan the edges need.

    Args:
        model: a checkpoint of `geqlib fit`, a file of `export_model`, or a potential in memory.
        out: the file; torch expects the ending .pt2.
        compiled: whether to compile it for this machine's processor, by AOTInductor.
        dtype: of all but sums of energies; that of the weights by default.
        level: of theory, by name, of a potential that was trained on several.

    Raises:
        ValueError: if the file is damaged, its model is no potential or cannot be traced, or there
            is no C++ compiler.
        OSError: if the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from geqlib.calculators import GeqCalculator
        >>> from geqlib.models import GauntNet
        >>> potential = Potential(GauntNet(["H"], channels=1, degree=0, order=1, layers=1))
        >>> with TemporaryDirectory() as folder:
        ...     export_program(potential, f"{folder}/hydrogen.pt2")
        ...     calculator = GeqCalculator(f"{folder}/hydrogen.pt2", trusted=True)
        >>> calculator.cutoff
        5.0
    """
    trained_cutoff = None if isinstance(model, Potential) else data_cutoff(read_stored(model))
    loaded = _potential(model if isinstance(model, Potential) else load(model), model)
    if loaded.charges is not None:
        raise ValueError(
            "Programs take no charge: use the format geqlib for a potential that knows them."
        )
    derivatives_only(loaded, "Forces of programs")
    potential = deepcopy(loaded).to(device="cpu", dtype=dtype).at_level(level)
    notes = notes_of(_facts(potential, trained_cutoff), compiled=compiled)
    program = forces_program(potential)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "program.pt2"
        if compiled:
            _compile(program, file, notes)
        else:
            torch.export.save(program, file, extra_files={NOTES: notes})
        replace_file(Path(out), lambda part: part.write_bytes(file.read_bytes()))


def _potential(model: nn.Module, source: object) -> Potential:
    if not isinstance(model, Potential):
        raise ValueError(
            f"{source} holds a {type(model).__name__}, which is no potential: only potentials are "
            "exported as programs, or have levels."
        )
    return model


def _facts(potential: Potential, trained_cutoff: float | None) -> dict[str, Any]:
    cutoffs = [c for c in (network_cutoff(potential.model), trained_cutoff) if c is not None]
    dtype, names = next(potential.parameters()).dtype, {v: k for k, v in DTYPES.items()}
    if dtype not in names:
        raise ValueError(f"Programs compute in float32 or float64, not in {dtype}: pass dtype.")
    kind, network = plan_kind(potential), potential.model
    seen = potential.statistics.seen
    seen = seen if potential.levels is None else seen[potential.levels.default]
    more = {"angle_cutoff": network.angle_cutoff} if kind == "angles" else {}
    return more | {
        "version": __version__,
        "cutoff": min(cutoffs, default=None),
        "elements": seen.nonzero()[:, 0].tolist(),
        "plan": kind,
        "dtype": names[dtype],
    }


def _compile(program: ExportedProgram, out: Path, notes: str) -> None:
    try:
        torch._inductor.aoti_compile_and_package(program, package_path=str(out))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"torch cannot compile this program here ({reason}): install a C++ compiler, or use "
            "the format torch."
        ) from error
    with ZipFile(out, "a") as archive:
        top = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{top}/extra/{NOTES}", notes)


class Energy(nn.Module):
    """A potential as a function of tensors alone, for one structure.

    Args:
        potential: a `Potential`.

    Example:
        >>> from geqlib.models import PONITA
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> total, atoms = Energy(potential)(**program_inputs(potential, pos, z))
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.kind: PlanKind = plan_kind(potential)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        cell: Tensor,
        cell_shift: Tensor,
        plan: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Total energy [1] and energies of the atoms [N], in eV and float64.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers.
            edge_index: [2, E] of all pairs within the cutoff, in both directions.
            cell: [1, 3, 3] vectors in rows; zeros for molecules.
            cell_shift: [E, 3] integers: the offset of an edge is
                pos[source] - pos[target] + cell_shift @ cell.
            plan: the `plan_tensors` of the edges.
        """
        network_plan = plan_from_tensors(self.kind, plan, pos.size(0))
        energies = self.potential(
            pos, z, edge_index, cell=cell, cell_shift=cell_shift, plan=network_plan
        )
        return energies.total, energies.atoms


def program_inputs(
    potential: Potential,
    pos: Tensor,
    z: Tensor,
    *,
    cell: Tensor | None = None,
    cutoff: float | None = None,
) -> dict[str, Any]:
    """The arguments of a program, by name.

    Args:
        potential: that of the program.
        pos: [N, 3] in angstrom.
        z: [N] atomic numbers.
        cell: [3, 3] vectors in rows; None for molecules.
        cutoff: of the neighbours; that of the network by default.

    Example:
        >>> from geqlib.models import PONITA
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> {name: len(x) for name, x in program_inputs(potential, pos, z)["plan"].items()}
        {'edge': 1, 'source': 1, 'target': 1}
    """
    cutoff = network_cutoff(potential.model) if cutoff is None else cutoff
    if cutoff is None:
        raise ValueError("This network has no cutoff: give the one of its training data.")
    cell = pos.new_zeros(1, 3, 3) if cell is None else cell[None]
    near = neighbor_list(pos, cutoff, cell=cell)
    plan = plan_tensors(plan_kind(potential), near.edge_index, len(pos), near.reverse)
    tensors = (pos, z, near.edge_index, cell, near.cell_shift)
    inputs = dict(zip(NAMES, tensors, strict=True)) | {"plan": plan}
    # compiled code reads memory in the order of what it was traced with
    return pytree.tree_map(Tensor.contiguous, inputs)


def energy_program(potential: Potential) -> ExportedProgram:
    """`Energy` traced for structures of all sizes; differentiable.

    Raises:
        ValueError: if the network's code depends on the number of atoms.

    Example:
        >>> from geqlib.models import GauntNet
        >>> potential = Potential(GauntNet(["H"], channels=1, degree=0, order=1, layers=1))
        >>> program = energy_program(potential).module()
        >>> inputs = program_inputs(potential, torch.zeros(1, 3), torch.tensor([1]))
        >>> total, atoms = program(**inputs)
    """
    frozen = deepcopy(potential).eval().requires_grad_(False)
    return _exported(Energy(frozen), _examples(frozen), type(potential.model).__name__)


def forces_program(potential: Potential) -> ExportedProgram:
    """Energies with their derivatives, traced for structures of all sizes.

    The program takes `program_inputs` and returns a dictionary like `energy_forces`:
    "energy", "energies", "forces" and "stress", which is 0 where there is no volume.

    Raises:
        ValueError: if the network's code depends on the number of atoms.

    Example:
        >>> from geqlib.models import GauntNet
        >>> potential = Potential(GauntNet(["H"], channels=1, degree=0, order=1, layers=1))
        >>> program = forces_program(potential).module()
        >>> inputs = program_inputs(potential, torch.zeros(1, 3), torch.tensor([1]))
        >>> program(**inputs)["forces"].shape
        torch.Size([1, 3])
    """
    name, examples = type(potential.model).__name__, _examples(potential)
    energy = _TracedEnergy(energy_program(potential).module())
    plans = sorted(examples[0]["plan"])

    def derivatives(*tensors: Tensor) -> dict[str, Tensor]:
        inputs = dict(zip(NAMES, tensors, strict=False))
        plan = dict(zip(plans, tensors[len(NAMES) :], strict=True))
        return energy_forces(energy, **inputs, plan=plan, stress=True, check=False)  # type: ignore

    # torch.export cannot trace a derivative, and what make_fx returns no longer has one
    with TRACING.patch(backed_size_oblivious=True):
        trace = make_fx(derivatives, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        graph = trace(*_flat(examples[0], plans))
    return _exported(_Derivatives(graph, plans), examples, name)


class _TracedEnergy(nn.Module):
    """A traced energy with the call signature of a potential, for `energy_forces`."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(
        self,
        pos: Tensor,
        *,
        cell: Tensor,
        batch: None,
        num_graphs: None,
        reverse: None,
        **rest: Any,
    ) -> Energies:
        total, atoms = self.program(pos=pos, cell=cell, **rest)
        return Energies(total, total, atoms)


class _Derivatives(nn.Module):
    """A traced graph of positional tensors, called by name."""

    def __init__(self, body: nn.Module, plans: Sequence[str]) -> None:
        super().__init__()
        self.body, self.plans = body, plans

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        cell: Tensor,
        cell_shift: Tensor,
        plan: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        return self.body(pos, z, edge_index, cell, cell_shift, *(plan[k] for k in self.plans))


def _exported(module: nn.Module, examples: Sequence[dict[str, Any]], name: str) -> ExportedProgram:
    """A module for all sizes: what differs between the two examples is dynamic."""
    export: Any = torch.export.export
    sizes = pytree.tree_map(differing, *examples)
    try:
        # otherwise a structure of one atom, or without edges, would need a program of its own
        with TRACING.patch(backed_size_oblivious=True):
            return export(module, (), examples[0], dynamic_shapes=sizes)
    except (RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"torch cannot export {name} for all sizes: {reason}") from error


def differing(one: Tensor, other: Tensor) -> dict[int, Any]:
    """Which dimensions of a tensor are dynamic, from two examples of it."""
    sizes = zip(one.shape, other.shape, strict=True)
    return {dim: Dim.DYNAMIC for dim, (a, b) in enumerate(sizes) if a != b}


def _examples(potential: Potential) -> list[dict[str, Any]]:
    """Inputs to trace with; their values do not matter."""
    weights = next(potential.parameters())
    examples = []
    for atoms in SIZES:
        pos = torch.arange(3.0 * atoms, dtype=weights.dtype, device=weights.device).view(atoms, 3)
        z = torch.ones(atoms, dtype=torch.long, device=weights.device)
        examples.append(program_inputs(potential, pos, z, cutoff=10.0 * atoms))
    return examples


def _flat(example: dict[str, Any], plans: Sequence[str]) -> list[Tensor]:
    return [*(example[k] for k in NAMES), *(example["plan"][k] for k in plans)]
