"""A potential as a program of tensors alone: energies, forces and stress of one structure."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.fx.experimental._config as fx_config
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from geqlib.atoms.forces import energy_forces
from geqlib.atoms.potential import Energies, Potential, network_cutoff
from geqlib.files.program import NAMES, plan_kind, plan_tensors
from geqlib.gaunt.slots import NeighborSlots
from geqlib.graph.edges import EdgePlan
from geqlib.graph.neighbors import neighbor_list

__all__ = ["Energy", "energy_program", "forces_program", "program_inputs"]
TRACING: Any = fx_config
SIZES = (5, 7)  # atoms in the structures that a program is traced with


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
        self.potential, self.kind = potential, plan_kind(potential)

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
            plan: what `plan_tensors` makes of the edges.
        """
        made: Any = None
        if self.kind == "slots":
            made = NeighborSlots(**plan)
        elif self.kind != "none":
            # every edge has a reverse, so that all rows serve two edges or none does
            paired = plan["edge"].size(0) if self.kind == "paired" else 0
            made = EdgePlan(**plan, paired=paired, num_nodes=pos.size(0))
        found = self.potential(pos, z, edge_index, cell=cell, cell_shift=cell_shift, plan=made)
        return found.total, found.atoms


def program_inputs(
    potential: Potential,
    pos: Tensor,
    z: Tensor,
    *,
    cell: Tensor | None = None,
    cutoff: float | None = None,
) -> dict[str, Any]:
    """What a program takes, by name.

    Args:
        potential: which was traced.
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
    given = (pos, z, near.edge_index, cell, near.cell_shift)
    inputs = dict(zip(NAMES, given, strict=True)) | {"plan": plan}
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

    The program takes what `program_inputs` makes, and returns a dictionary like `energy_forces`:
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
    energy = _Again(energy_program(potential).module())
    plans = sorted(examples[0]["plan"])

    def derivatives(*tensors: Tensor) -> dict[str, Tensor]:
        known = dict(zip(NAMES, tensors, strict=False))
        plan = dict(zip(plans, tensors[len(NAMES) :], strict=True))
        return energy_forces(energy, **known, plan=plan, stress=True, check=False)  # type: ignore

    # torch.export cannot trace a derivative, and what make_fx returns no longer has one
    with TRACING.patch(backed_size_oblivious=True):
        trace = make_fx(derivatives, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        graph = trace(*_flat(examples[0], plans))
    return _exported(_Derivatives(graph, plans), examples, name)


class _Again(nn.Module):
    """A traced energy that `energy_forces` takes for a potential."""

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
    """A graph of tensors one after another, with their names."""

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
    found = []
    for atoms in SIZES:
        pos = torch.arange(3.0 * atoms, dtype=weights.dtype, device=weights.device).view(atoms, 3)
        z = torch.ones(atoms, dtype=torch.long, device=weights.device)
        found.append(program_inputs(potential, pos, z, cutoff=10.0 * atoms))
    return found


def _flat(example: dict[str, Any], plans: Sequence[str]) -> list[Tensor]:
    return [*(example[k] for k in NAMES), *(example["plan"][k] for k in plans)]
