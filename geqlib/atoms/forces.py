"""Forces and stress: derivatives of a potential's energy, eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import lookup_backend
from torch._dynamo.exc import BackendCompilerFailed

from geqlib.atoms.electric import born_charges, dipoles
from geqlib.atoms.potential import Potential
from geqlib.atoms.statistics import Energies

STATE = ("charge", "multiplicity", "level")  # of each graph
GEOMETRY = ("pos", "z", "edge_index", "batch", "cell", "cell_shift", *STATE)
TRACING = "trace_autograd_ops"  # of dynamo: derivatives become part of the compiled function
# floats of layers are constants: as inputs, torch compiles once more without most of them
CONSTANTS = "specialize_float"


def potential_inputs(batch: Any, *more: str) -> dict[str, Any]:
    """The arguments of a potential, from a batch."""
    tensors = {key: batch[key] for key in (*GEOMETRY, *more, "plan") if key in batch}
    return tensors | {"num_graphs": batch.num_graphs}


def energy_forces(
    potential: Potential,
    pos: Tensor,
    z: Tensor,
    edge_index: Tensor,
    *,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    cell: Tensor | None = None,
    cell_shift: Tensor | None = None,
    reverse: Tensor | None = None,
    plan: object | None = None,
    charge: Tensor | None = None,
    multiplicity: Tensor | None = None,
    level: Tensor | None = None,
    stress: bool = False,
    born: bool = False,
    create_graph: bool = False,
    check: bool = True,
) -> dict[str, Tensor]:
    """Energy, forces -dE/dpos, and the stress dE/dstrain / volume by a symmetric strain.

    Forces of a `DirectPotential` are those of its network, and no derivatives.

    The strain moves positions and cells alike, pos -> pos (1 + strain). Works inside `no_grad`.

    Args:
        potential: a `Potential`.
        pos, z, edge_index, batch, num_graphs, cell, cell_shift, reverse, plan, charge,
            multiplicity, level: see `Potential.forward`.
        stress: whether to return it, too; zeros for a structure without a cell or with a flat one.
        born: whether to return Born effective charges, too, of a potential with `long_range`; they
            take three backward passes in molecules, nine where there are cells.
        create_graph: whether the results can be differentiated again, for training.
        check: whether to call `potential.check` first, for which the host waits.

    Returns:
        "energy" [G] and "energies" [N] in eV and float64, "forces" [N, 3] in eV/angstrom, and on
        request "stress" [G, 3, 3] in eV/angstrom^3, positive under tension as in ASE. Of a
        potential with `long_range` also "charges" [N] in e, "dipole" [G, 3] in e angstrom
        (`geqlib.atoms.electric.dipoles`; zeros with a cell) and on request "born_charges"
        [N, 3, 3] in e; of one with `polarisability` that, [G, 3, 3] in angstrom^3.

    Raises:
        ValueError: see `Potential.check`; or Born charges of a potential without charges; or the
            stress of one whose forces are no derivatives.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA, Potential
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> energy_forces(potential, pos, z, neighbor_list(pos, 5.0).edge_index)["forces"].shape
        torch.Size([2, 3])
    """
    if check:
        potential.check(z, cell, cell_shift, charge, multiplicity, level, batch)
    if born and potential.long_range is None:
        raise ValueError(
            "Born charges are derivatives of charges, and this potential has none: build it with "
            "long_range=GaussianCharges()."
        )
    if stress and not getattr(potential, "conservative", True):
        raise ValueError(
            "This potential has no stress, because its forces are no derivatives of its energy: "
            "use one of geqlib.models.Potential."
        )
    state = {"charge": charge, "multiplicity": multiplicity, "level": level}
    fields = {key: value for key, value in state.items() if value is not None} | {
        "z": z,
        "edge_index": edge_index,
        "batch": batch,
        "num_graphs": num_graphs,
        "cell": cell,
        "cell_shift": cell_shift,
        "reverse": reverse,
        "plan": plan,
    }
    with torch.enable_grad():
        leaves = _leaves(pos, num_graphs, stress)
        results = _derivatives(potential, *leaves, fields, create_graph, born=born)
    return results if create_graph else {key: value.detach() for key, value in results.items()}


def compiled_energy_forces(
    potential: Potential, *, backend: str = "inductor"
) -> Callable[..., dict[str, Tensor]]:
    """`energy_forces` with `create_graph=True`, compiled once for batches of all sizes.

    Results and the gradients of parameters are those of `energy_forces`. A `plan` made before
    keeps index work out of the compiled function. Nothing is checked: see `Potential.check`.

    Args:
        potential: a `Potential`. Its layers must not be `torch.autograd.Function`s when compiled
            (`torch.compiler.is_compiling()`): torch drops their second derivatives.
        backend: of `torch.compile`.

    Returns:
        A function with the arguments of `energy_forces` but `potential` and the last two.

    Raises:
        ValueError: if this torch cannot trace derivatives, or the forces are none; in the first
            call, if a layer is an `autograd.Function`.

    Example:
        >>> from geqlib.models import PONITA
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> run = compiled_energy_forces(potential)  # run(pos, z, edge_index)["forces"]
    """
    derivatives_only(potential, "Compiled forces")
    settings: Any = torch._dynamo.config
    if not hasattr(settings, TRACING):
        raise ValueError(
            f"torch {torch.__version__} cannot compile derivatives: use compile=False, or torch "
            "2.13 or newer."
        )
    compiled = torch.compile(
        partial(_derivatives, potential, create_graph=True),
        fullgraph=True,
        dynamic=True,
        backend=_twice_differentiable(backend),
    )

    def run(
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        *,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        cell: Tensor | None = None,
        stress: bool = False,
        **edges: Any,
    ) -> dict[str, Tensor]:
        fields = {"z": z, "edge_index": edge_index, "batch": batch, "num_graphs": num_graphs}
        leaves = _leaves(pos, num_graphs, stress)
        try:
            with torch.enable_grad(), settings.patch({TRACING: True, CONSTANTS: True}):
                return compiled(*leaves, fields | {"cell": cell} | edges)
        except BackendCompilerFailed as error:
            raise error.inner_exception from error

    return run


def derivatives_only(potential: Potential, what: str) -> None:
    """Refuse a potential whose forces are no derivatives of its energy.

    Args:
        potential: any.
        what: needs derivatives, in the plural.

    Raises:
        ValueError: if it is a `DirectPotential`.
    """
    if not potential.conservative:
        raise ValueError(
            f"{what} are derivatives of an energy, and the forces of this potential are not: train "
            "one of geqlib.models.Potential, with a network without direct_forces."
        )


def _twice_differentiable(backend: str) -> Callable[..., Any]:
    """A backend that refuses code whose second derivatives would be wrong."""
    compile_graph = lookup_backend(backend)

    def compile_checked(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        for part in graph.modules():
            nodes = part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ()
            if any("autograd_function_apply" in str(node.target) for node in nodes):
                raise ValueError(
                    "The model has a torch.autograd.Function, whose second derivatives torch "
                    "would drop in compiled code: use compile=False, or plain operations where "
                    "torch.compiler.is_compiling()."
                )
        return compile_graph(graph, inputs)

    return compile_checked


def _leaves(pos: Tensor, num_graphs: int | None, stress: bool) -> tuple[Tensor, Tensor | None]:
    """The variables of the derivatives: positions, and a strain [G, 3, 3] on request."""
    strain = pos.new_zeros(num_graphs or 1, 3, 3, requires_grad=True) if stress else None
    return pos if pos.requires_grad else pos.detach().requires_grad_(), strain


def _derivatives(
    potential: Potential,
    pos: Tensor,
    strain: Tensor | None,
    fields: dict[str, Any],
    create_graph: bool,
    *,
    born: bool = False,
) -> dict[str, Tensor]:
    moved, cell = pos, fields["cell"]
    if strain is not None:
        moved, fields = _strained(pos, strain, fields)
    energies = potential(moved, **fields)
    if energies.direct_forces is not None:
        results = {"energy": energies.total, "energies": energies.atoms}
        return results | {"forces": energies.direct_forces}
    electric = _electric(energies, pos, fields | {"cell": cell}, born, create_graph)
    forces, *by_strain = torch.autograd.grad(
        energies.total,
        [pos] if strain is None else [pos, strain],
        torch.full_like(energies.total, -1.0),
        create_graph=create_graph,
        materialize_grads=True,
    )
    results = {"energy": energies.total, "energies": energies.atoms, "forces": forces} | electric
    return results | ({"stress": _over_volume(-by_strain[0], cell)} if by_strain else {})


def _electric(
    energies: Energies, pos: Tensor, fields: dict[str, Any], born: bool, create_graph: bool
) -> dict[str, Tensor]:
    """What a potential says of charges and fields, where it does."""
    results: dict[str, Tensor] = {}
    if energies.polarisability is not None:
        results["polarisability"] = energies.polarisability
    if energies.charges is None:
        return results
    batch, cell = fields["batch"], fields["cell"]
    results["charges"] = energies.charges
    results["dipole"] = dipoles(
        energies.charges, pos, fields["z"], batch, fields["num_graphs"], cell
    )
    if born:
        results["born_charges"] = born_charges(
            energies.charges,
            pos,
            batch,
            cell,
            num_graphs=fields["num_graphs"],
            create_graph=create_graph,
        )
    return results


def _strained(pos: Tensor, strain: Tensor, fields: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Positions and cells under the symmetric part of a strain."""
    strain = (strain + strain.transpose(1, 2)) / 2
    batch, cell = fields["batch"], fields["cell"]
    each = strain.expand(pos.size(0), 3, 3) if batch is None else strain.index_select(0, batch)
    moved = pos + torch.einsum("ni,nij->nj", pos, each)
    return moved, fields | {"cell": None if cell is None else cell + cell @ strain}


def _over_volume(slope: Tensor, cell: Tensor | None) -> Tensor:
    if cell is None:
        return torch.zeros_like(slope)
    volume = torch.linalg.det(cell).abs()[:, None, None]
    return torch.where(volume > 0, slope / torch.where(volume > 0, volume, 1.0), 0.0)
