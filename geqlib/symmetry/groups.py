"""Groups by name or by their matrices, and random elements of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.sphere.irreps import act_irreps
from geqlib.symmetry.rotations import random_rotation, random_translation
from geqlib.symmetry.types import TensorType, Typed


@dataclass(frozen=True)
class Group:
    label: str
    permutes: bool = False
    dim: int = 0
    rotates: bool = False
    reflects: bool = False
    translates: bool = False
    matrices: Tensor | None = None


@dataclass(frozen=True)
class Element:
    matrix: Tensor | None
    shift: Tensor | None
    nodes: Tensor | None  # new row i is old row nodes[i]
    edges: Tensor | None


def parse_group(group: str | Tensor) -> Group:
    if isinstance(group, Tensor):
        return _finite_group(group)
    found = [re.fullmatch(r"S_n|(O|SO|E|SE|T)\(([23])\)", f) for f in re.split(r"\s*x\s*", group)]
    factors = [(m[1], m[2]) for m in found if m is not None]
    if len(factors) < len(found):
        raise ValueError(
            f"group {group!r} is unknown: write 'S_n', 'O', 'SO', 'E', 'SE' or 'T' with (2) or (3),"
            " a product such as 'S_n x E(3)', or give a tensor [n, d, d] of matrices."
        )
    names, dims = {name for name, _ in factors}, {int(d) for _, d in factors if d}
    if len(dims) > 1:
        raise ValueError(f"group {group!r} mixes 2 and 3 dimensions: keep one of them.")
    return Group(
        group,
        permutes=None in names,
        dim=max(dims, default=0),
        rotates=bool(names & {"O", "SO", "E", "SE"}),
        reflects=bool(names & {"O", "E"}),
        translates=bool(names & {"E", "SE", "T"}),
    )


def _finite_group(matrices: Tensor) -> Group:
    shape = list(matrices.shape)
    if len(shape) != 3 or shape[0] == 0 or shape[1:] not in ([2, 2], [3, 3]):
        raise ValueError(f"a finite group must have shape [n, 2, 2] or [n, 3, 3], got {shape}.")
    m = matrices.detach().cpu().double()
    u, _, vh = torch.linalg.svd(m)
    if not torch.allclose(u @ vh, m, atol=1e-4):
        raise ValueError("a finite group must consist of orthogonal matrices: normalise them.")
    label = f"the finite group of {shape[0]} matrices"
    return Group(label, dim=shape[1], matrices=u @ vh)  # exact even if given in float32


def elements(
    group: Group,
    inputs: Typed,
    sizes: Mapping[str, int],
    samples: int,
    generator: torch.Generator,
) -> Iterator[Element]:
    """Random elements of the group; improper ones come first and then in turn."""
    batch = next((x.cpu() for x, type_ in inputs.values() if type_.kind == "batch"), None)
    matrices = group.matrices
    if matrices is not None:
        matrices = matrices[torch.randperm(len(matrices), generator=generator)[:samples]]
    for i in range(samples if matrices is None else len(matrices)):
        matrix = None if matrices is None else matrices[i]
        if group.rotates:
            improper = group.reflects and i % 2 == 0
            matrix = random_rotation(group.dim, generator, improper=improper)
        shift = random_translation(group.dim, generator) if group.translates else None
        nodes = edges = None
        if group.permutes:
            nodes = torch.randperm(sizes["node"], generator=generator)
            if batch is not None:  # keeps a sorted batch sorted
                nodes = nodes[batch[nodes].argsort(stable=True)]
            edges = torch.randperm(sizes.get("edge", 0), generator=generator)
        yield Element(matrix, shift, nodes, edges)


def act(x: Tensor, type_: TensorType, g: Element) -> Tensor:
    """g x, in float64 on the CPU for what rotates: free of TF32 and of low precision."""
    x = x.detach().cpu()
    if type_.rotates:
        x = x.double()
        if g.matrix is not None and type_.kind in ("point", "vector"):
            x = x @ g.matrix.T
        elif g.matrix is not None:
            x = act_irreps(x, type_.kind, g.matrix)
        if g.shift is not None and type_.kind == "point":
            x = x + g.shift
    if type_.kind == "edge_index" and g.nodes is not None:
        x = g.nodes.argsort()[x]
    rows = {"node": g.nodes, "edge": g.edges}.get(type_.rows)
    return x if rows is None else x.index_select(type_.axis, rows)
