"""`geqlib export`: a trained model as one file, or its energies as a program for torch alone."""

from __future__ import annotations

import io
import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from geqlib import __version__
from geqlib.checkpoint import data_cutoff, load, read_stored
from geqlib.data.cache import replace_file
from geqlib.graph.edges import EdgePlan
from geqlib.graph.neighbors import neighbor_list
from geqlib.model_file import model_header
from geqlib.models.cutoff import network_cutoff
from geqlib.models.potential import Potential

DESCRIPTION = """Write a trained model into one file. The format geqlib holds weights and how to
build the model, for geqlib.load and GeqCalculator; the format torch holds the energy of a potential
as a program of torch.export, for one structure of any size."""
SIZES = (5, 7)  # atoms in the structures that a program is traced with


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib export", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--format", choices=("geqlib", "torch"), default="geqlib")
    given = parser.parse_args(args)
    write = export_model if given.format == "geqlib" else export_program
    write(given.checkpoint, given.out)
    sys.stdout.write(f"wrote {given.out}\n")
    return 0


def export_model(checkpoint: str | Path, out: str | Path) -> None:
    """A checkpoint's model without the rest: `geqlib.load` reads it as it reads checkpoints.

    Args:
        checkpoint: of `geqlib fit`.
        out: the file.

    Raises:
        ValueError: if the checkpoint is damaged, or does not say how its model was built.
        OSError: if the file cannot be written.
    """
    model, stored = load(checkpoint), read_stored(checkpoint)
    # tensors that share memory are not allowed in such a file
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    description = stored["hyper_parameters"]["model"]
    header = model_header(description, weights, data_cutoff(stored))
    replace_file(Path(out), lambda part: save_file(weights, part, metadata=header))


def export_program(checkpoint: str | Path, out: str | Path) -> None:
    """The energy of a potential as a program that torch runs without geqlib: see `Energy`.

    With it goes `geqlib.json`: the cutoff of the neighbours, and the elements that it knows.

    Args:
        checkpoint: of `geqlib fit`, or a file of `export_model`.
        out: the file; torch expects the ending .pt2.

    Raises:
        ValueError: if the file is damaged, or its model is no potential or cannot be traced.
        OSError: if the file cannot be written.
    """
    potential = load(checkpoint)
    if not isinstance(potential, Potential):
        raise ValueError(
            f"{checkpoint} holds a {type(potential).__name__}, which is no potential: only "
            "energies are exported as programs."
        )
    known = [network_cutoff(potential.model), data_cutoff(read_stored(checkpoint))]
    facts = {
        "version": __version__,
        "cutoff": min((c for c in known if c is not None), default=None),
        "elements": potential.statistics.seen.nonzero()[:, 0].tolist(),
    }
    buffer, notes = io.BytesIO(), {"geqlib.json": json.dumps(facts)}
    torch.export.save(energy_program(potential), buffer, extra_files=notes)
    replace_file(Path(out), lambda part: part.write_bytes(buffer.getvalue()))


def energy_program(potential: Potential) -> torch.export.ExportedProgram:
    """`Energy` traced for structures of all sizes.

    Raises:
        ValueError: if the network's code depends on the number of atoms.
    """
    potential = potential.eval()
    sizes = torch.export.AdditionalInputs()
    examples = [_example(potential, atoms) for atoms in SIZES]
    for example in examples:  # what differs between the two is dynamic
        sizes.add((), example)
    exported: Any = torch.export.export
    try:
        return exported(Energy(potential), (), examples[0], dynamic_shapes=sizes)
    except (RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())[:300]
        name = type(potential.model).__name__
        raise ValueError(f"torch cannot export {name} for all sizes: {reason}") from error


class Energy(nn.Module):
    """A potential as a function of tensors alone, for one structure.

    Args:
        potential: a `Potential`.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        # every edge has a reverse, so that either all rows serve two edges or none does
        pair = torch.tensor([[0, 1], [1, 0]])
        plan = _plan(potential, pair, pair[1], 2)
        self.planned, self.paired = plan is not None, plan is not None and plan.paired == 1

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        cell: Tensor,
        cell_shift: Tensor,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Total energy [1] and energies of the atoms [N], in eV and float64.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers.
            edge_index: [2, E] of all pairs within the cutoff, in both directions.
            cell: [1, 3, 3] vectors in rows; zeros for molecules.
            cell_shift: [E, 3] integers: the offset of an edge is
                pos[source] - pos[target] + cell_shift @ cell.
            rows: [R] edges whose kernels are evaluated: see `energy_inputs`.
        """
        plan = None
        if self.planned:
            source, target = (end.index_select(0, rows) for end in edge_index)
            plan = EdgePlan(rows, source, target, rows.size(0) * self.paired, pos.size(0))
        found = self.potential(pos, z, edge_index, cell=cell, cell_shift=cell_shift, plan=plan)
        return found.total, found.atoms


def energy_inputs(
    potential: Potential,
    pos: Tensor,
    z: Tensor,
    *,
    cell: Tensor | None = None,
    cutoff: float | None = None,
) -> dict[str, Tensor]:
    """What a program of `energy_program` takes, by name.

    `rows` are the edges with edge < reverse[edge] where the network's kernels serve an edge and its
    reverse, and all edges otherwise.

    Args:
        potential: which was exported.
        pos: [N, 3] in angstrom.
        z: [N] atomic numbers.
        cell: [3, 3] vectors in rows; None for molecules.
        cutoff: of the neighbours; that of the network by default.
    """
    cutoff = network_cutoff(potential.model) if cutoff is None else cutoff
    if cutoff is None:
        raise ValueError("This network has no cutoff: give the one of its training data.")
    cell = pos.new_zeros(1, 3, 3) if cell is None else cell[None]
    near = neighbor_list(pos, cutoff, cell=cell)
    plan = _plan(potential, near.edge_index, near.reverse, len(pos))
    rows = torch.arange(near.edge_index.size(1)) if plan is None else plan.edge
    return {
        "pos": pos,
        "z": z,
        "edge_index": near.edge_index,
        "cell": cell,
        "cell_shift": near.cell_shift,
        "rows": rows,
    }


def _plan(
    potential: Potential, edge_index: Tensor, reverse: Tensor, num_nodes: int
) -> EdgePlan | None:
    """The rows of the network's kernels; None for networks without."""
    network: Any = potential.model
    if not hasattr(network, "plan"):
        return None
    return network.plan(edge_index, num_nodes, reverse=reverse)


def _example(potential: Potential, atoms: int) -> dict[str, Tensor]:
    """Inputs to trace with; their values do not matter."""
    weights = next(potential.parameters())
    pos = torch.arange(3.0 * atoms, dtype=weights.dtype).view(atoms, 3)
    z = torch.ones(atoms, dtype=torch.long)
    found = energy_inputs(potential, pos, z, cutoff=10.0 * atoms)
    return {name: value.to(weights.device) for name, value in found.items()}
