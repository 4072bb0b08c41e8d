"""Structures of atoms as `PackedGraphs`: their fields, checks, neighbours, and the way to ASE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from rich.console import Console
from rich.progress import track
from scipy.spatial import KDTree
from torch import Tensor

from geqlib.data.packed import Field, PackedGraphs
from geqlib.graph.complete import complete_graphs
from geqlib.graph.neighbors import FLAT, Neighbors, neighbor_list
from geqlib.graph.segments import segment_ptr
from geqlib.graph.wrapping import NEAR, OUTSIDE

STRUCTURE = {"z": "node", "pos": "node", "cell": "graph", "pbc": "graph", "index": "graph"}
ORIGIN = "origin"
EDGES = {"edge_index": Field("edge", "node", dim=1), "reverse": Field("edge", "edge")}
PER_ATOM = ("forces", "energies")
DOUBLE = (
    "energy",
    "energies",
    "origin",
)  # float32 has steps of meV at the energy of a large structure
CHUNK = 20_000  # atoms whose neighbours are searched at once
HEAVIEST = 118
SAME_POSITION = 1e-3


def structure_fields(
    labels: Iterable[str], dtype: torch.dtype | None = None, *, far: bool = False
) -> dict[str, Field]:
    """What the arrays of structures with these labels hold.

    `z` [N] atomic numbers; `pos` [N, 3]; `cell` [G, 3, 3] vectors in rows, zeros without a cell;
    `pbc` [G, 3] whether it repeats along each of them; `index` [G] the number of the frame in its
    source; labels [N, ...] if they are "forces" or "energies", else [G, ...]; energies in float64.

    Args:
        labels: names.
        dtype: of all other floating-point arrays, torch's default type by default.
        far: whether there is `origin` [N, 3] in float64, see `far_origins`.
    """
    per = (
        STRUCTURE
        | ({ORIGIN: "node"} if far else {})
        | {name: "node" if name in PER_ATOM else "graph" for name in labels}
    )
    return {
        name: Field(kind, dtype=torch.float64 if name in DOUBLE else dtype)
        for name, kind in per.items()
    }


def molecules(
    z: Any, pos: Any, atoms: Any, index: Any, labels: dict[str, Any] | None = None
) -> PackedGraphs:
    """Molecules without a cell or neighbours, from arrays.

    Args:
        z: [N] atomic numbers.
        pos: [N, 3] in angstrom.
        atoms: [G] of each molecule.
        index: [G] their numbers.
        labels: by name.
    """
    count, labels = len(atoms), labels or {}
    arrays = {
        "nodes": atoms,
        "z": torch.as_tensor(z).to(torch.uint8),
        "pos": pos,
        "cell": torch.zeros(count, 3, 3),
        "pbc": torch.zeros(count, 3, dtype=torch.bool),
        "index": index,
    }
    return PackedGraphs(arrays | labels, structure_fields(labels))


def far_origins(pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """What to subtract from the positions of a structure before they lose digits in float32.

    Trajectories may be unwrapped, and clusters cut from them lie anywhere. As by
    `geqlib.graph.wrapping.near_cell`, an atom far outside of its cell is moved by whole cells, and
    a structure far from the origin as a whole.

    Args:
        pos: [N, 3] in float64.
        cell: [3, 3] vectors in rows.
        pbc: [3] whether the structure repeats along each of them.

    Returns:
        [N, 3] in float64; zeros where nothing is far.

    Example:
        >>> far_origins(np.array([[1.0, 0, 0], [4001, 0, 0]]), 4 * np.eye(3), np.ones(3, bool))[1]
        array([4000.,    0.,    0.])
    """
    origin = np.zeros_like(pos)
    if pbc.any():
        cells = np.floor(pos @ np.linalg.pinv(cell[pbc]))
        origin = cells @ cell[pbc]
        origin[np.linalg.norm(origin, axis=1) <= OUTSIDE] = 0
    centre = (pos - origin).mean(0)
    return origin + np.where(np.abs(centre) > NEAR, centre.round(), 0.0)


# --- neighbours ----------------------------------------------------------------------------------


def with_neighbors(
    structures: PackedGraphs,
    cutoff: float | None,
    *,
    keep: bool = False,
    periodic: bool | None = None,
) -> PackedGraphs:
    """The structures with `edge_index`, `reverse`, and `cell_shift` if any of them is periodic.

    Args:
        structures: without neighbours.
        cutoff: in angstrom; None for all pairs.
        keep: whether to find all neighbours now and keep them, or those of each batch anew.
        periodic: whether there is `cell_shift`; by default if any of the structures is periodic.

    Raises:
        ValueError: all pairs of a periodic structure.
    """
    if cutoff is None and structures.pbc.any():
        raise ValueError("Periodic structures have infinitely many pairs: give a cutoff.")
    periodic = bool(structures.pbc.any()) if periodic is None else periodic
    if not keep or not len(structures):
        return _with(structures, {}, {}, partial(_search, cutoff=cutoff, periodic=periodic))
    edges = _all_neighbors(structures, cutoff, periodic)
    fields = EDGES | ({"cell_shift": Field("edge")} if periodic else {})
    return _with(structures, edges, fields, _shift_as_float if periodic else None)


def find_neighbors(structures: Any, cutoff: float | None) -> Neighbors:
    """Neighbours in a batch (or one) of structures; all pairs of each if `cutoff` is None."""
    batch = structures.batch
    if cutoff is None:
        atoms = len(structures.pos)
        return complete_graphs(torch.tensor([0, atoms]) if batch is None else structures.ptr)
    return neighbor_list(
        structures.pos, cutoff, cell=structures.cell, pbc=structures.pbc, batch=batch
    )


def _with(structures: PackedGraphs, arrays: Any, fields: Any, transform: Any) -> PackedGraphs:
    counts = {"nodes": structures.counts["node"]}
    return PackedGraphs(
        {**counts, **structures.arrays, **arrays},
        {**structures.fields, **fields},
        transform=transform,
    )


def _search(structures: Any, cutoff: float | None, periodic: bool) -> Any:
    near = find_neighbors(structures, cutoff)
    structures.edge_index, structures.reverse = near.edge_index, near.reverse
    if periodic:
        structures.cell_shift = near.cell_shift.to(structures.pos.dtype)
    return structures


def _shift_as_float(structures: Any) -> Any:
    structures.cell_shift = structures.cell_shift.to(structures.pos.dtype)
    return structures


def _all_neighbors(
    structures: PackedGraphs, cutoff: float | None, periodic: bool
) -> dict[str, Tensor]:
    """Arrays of all edges, found for some thousand atoms at a time."""
    block = torch.div(structures.ptr[:-1], CHUNK, rounding_mode="floor")
    sizes = torch.unique_consecutive(block, return_counts=True)[1]
    chunks = torch.arange(len(structures)).split(sizes.tolist())
    parts = [_local(structures.subset(chunk), cutoff) for chunk in _progress(chunks)]
    counts, edges, reverse, shift = zip(*parts, strict=True)
    arrays = {
        "edges": torch.cat(counts),
        "edge_index": torch.cat(edges, 1),
        "reverse": torch.cat(reverse),
    }
    return arrays | ({"cell_shift": torch.cat(shift)} if periodic else {})


def _local(structures: PackedGraphs, cutoff: float | None) -> tuple[Tensor, ...]:
    """Edges of each structure, numbered within it, in half the memory of int64."""
    near = find_neighbors(structures, cutoff)
    graph = structures.batch[near.edge_index[1]]
    count = torch.bincount(graph, minlength=len(structures))
    edges = near.edge_index - structures.ptr[graph]
    reverse = near.reverse - segment_ptr(count)[graph]
    return count, edges.int(), reverse.int(), near.cell_shift.int()


def _progress(chunks: Sequence[Tensor]) -> Iterable[Tensor]:
    console = Console(stderr=True)
    return track(chunks, "neighbours", console=console, disable=not console.is_terminal)


# --- for ASE -------------------------------------------------------------------------------------


def to_atoms(structure: Any) -> Atoms:
    """One structure for ASE; its labels are called REF_energy, REF_forces and so on."""
    pos, cell = structure.pos.double().numpy(), structure.cell[0].double().numpy()
    pos = pos + structure[ORIGIN].numpy() if ORIGIN in structure else pos
    atoms = Atoms(structure.z.numpy(), pos, cell=cell, pbc=structure.pbc[0].numpy())
    atoms.info["index"] = int(structure.index[0])
    labels = [k for k in structure.keys() if k not in {*STRUCTURE, *EDGES, ORIGIN, "cell_shift"}]  # noqa: SIM118
    for name in labels:
        value = structure[name].double().numpy()
        if name in PER_ATOM:
            atoms.set_array(f"REF_{name}", value)
        else:
            atoms.info[f"REF_{name}"] = value[0][()]
    return atoms


# --- checks --------------------------------------------------------------------------------------


def check_structure(z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise a ValueError that says what is wrong with a structure, in angstrom.

    Looks for atoms without an element or a finite position, cells without a volume, and two atoms
    closer than 1e-3 angstrom, images in neighbouring cells included.

    Args:
        z: [N] atomic numbers.
        pos: [N, 3].
        cell: [3, 3] vectors in rows.
        pbc: [3] whether the structure repeats along each of them.
    """
    _check_atoms(z, pos)
    _check_cell(cell, pbc)
    _check_distances(pos, cell, pbc)


def is_isolated(atoms: Atoms, cell: np.ndarray, distance: float) -> bool:
    """Whether this is one atom, marked so or without an image of itself within a distance.

    Args:
        atoms: marked by config_type=IsolatedAtom, or not.
        cell: [3, 3] its vectors, in the unit of the distance.
        distance: the least distance of an image.
    """
    if len(atoms) != 1:
        return False
    if atoms.info.get("config_type") == "IsolatedAtom" or not atoms.pbc.any():
        return True
    heights = 1 / np.linalg.norm(np.linalg.pinv(cell[atoms.pbc]), axis=0)
    return bool((heights > distance).all())


def _check_atoms(z: np.ndarray, pos: np.ndarray) -> None:
    unknown = np.flatnonzero((z < 1) | (z > HEAVIEST))
    if len(unknown):
        raise ValueError(f"atom {unknown[0]} has the atomic number {z[unknown[0]]}.")
    infinite = np.flatnonzero(~np.isfinite(pos).all(1))
    if len(infinite):
        raise ValueError(f"the position of atom {infinite[0]} is NaN or infinite.")


def _check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    if not np.isfinite(cell).all():
        raise ValueError("its cell is NaN or infinite.")
    vectors = cell[pbc]
    edges = np.linalg.norm(vectors, axis=1).prod()
    volume = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0))
    if pbc.any() and not volume > FLAT * edges:
        raise ValueError(
            f"it repeats along {vectors.tolist()}, which span no volume: correct Lattice, or write "
            'pbc="F F F".'
        )


def _check_distances(pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    points, atom = pos, np.arange(len(pos))
    if pbc.any():
        points, atom = _with_images(pos, cell, pbc)
    pairs = KDTree(points).query_pairs(SAME_POSITION, output_type="ndarray")
    if len(pairs):
        first, second = sorted(atom[pairs[0]].tolist())
        raise ValueError(f"atoms {first} and {second} have the same position.")


def _with_images(
    pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms moved into the cell, and images of those at its walls; the atom of each point."""
    inverse = np.linalg.pinv(cell[pbc])
    fractional = pos @ inverse
    points, atom = pos - np.floor(fractional) @ cell[pbc], np.arange(len(pos))
    for column, vector in zip(inverse.T, cell[pbc], strict=True):
        wall = points @ column <= SAME_POSITION * np.linalg.norm(column)
        points = np.concatenate([points, points[wall] + vector])
        atom = np.concatenate([atom, atom[wall]])
    return points, atom
