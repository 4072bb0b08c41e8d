"""QM9 as graphs: atoms and bonds without positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geqlib.data.molecules.qm9 import qm9_arrays
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.elements import atomic_numbers
from geqlib.generation import bond_orders
from geqlib.graph.segments import segment_index

SPECIES = ("H", "C", "N", "O", "F")  # kinds 0 to 4 of nodes
CHUNK = 1000  # molecules, whose pairs of atoms are in memory at the same time


def qm9_graphs(cache: Path | None = None) -> PackedGraphs:
    """All molecules of QM9 as graphs: hydrogens are nodes, bonds go by the rules of EDM.

    The same file, molecules and rules as of `QM9Generation` and its scores, so that of these graphs
    95.28 % are stable. Kinds of nodes are the elements `SPECIES`, kinds of edges bond orders.

    Args:
        cache: folder for what is read from qm9pack; the user's cache folder by default.

    Raises:
        ValueError: if QM9 is not here.
    """
    arrays = qm9_arrays(cache)
    kinds = np.zeros(max(map(int, arrays["z"]), default=0) + 1, dtype=np.int64)
    for kind, symbol in enumerate(SPECIES):
        kinds[atomic_numbers[symbol] : atomic_numbers[symbol] + 1] = kind
    graphs = {"nodes": arrays["n_atoms"].astype(np.int64), "x": kinds[arrays["z"]]}
    graphs["index"] = arrays["index"].astype(np.int64)
    fields = {"x": "node", "edge_attr": "edge", "index": "graph"}
    return PackedGraphs(graphs | _bonds(arrays), fields)


def _bonds(arrays: Arrays) -> Arrays:
    """Both directions of all bonds, molecule by molecule, and their orders."""
    sizes = torch.from_numpy(arrays["n_atoms"].astype(np.int64))
    numbers, pos = torch.from_numpy(arrays["z"].astype(np.int64)), torch.from_numpy(arrays["pos"])
    counts, edges, orders, begin = [], [], [], 0
    for size in sizes.split(CHUNK):
        end = begin + int(size.sum())
        batch = segment_index(size)
        bonds = bond_orders(numbers[begin:end], pos[begin:end], batch, len(size))
        pair, order, molecule = _both(bonds.pair, bonds.order, batch)
        first = size.cumsum(0) - size
        counts.append(torch.bincount(molecule, minlength=len(size)))
        edges.append(pair - first[molecule])
        orders.append(order)
        begin = end
    return {
        "edges": torch.cat(counts).to(torch.int32).numpy(),
        "edge_index": torch.cat(edges, 1).to(torch.uint8).numpy(),
        "edge_attr": torch.cat(orders).to(torch.uint8).numpy(),
    }


def _both(pair: Tensor, order: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bonds in both directions, those of a molecule together."""
    molecule = batch[pair[0]].repeat(2)
    place = molecule.argsort(stable=True)
    both = torch.cat([pair, pair.flip(0)], 1)
    return both[:, place], order.repeat(2)[place], molecule[place]
