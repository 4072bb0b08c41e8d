"""Groups by name or by their matrices, random elements of them, and their action on tensors.

O(d), SO(d)         orthogonal matrices, and rotations
T(d), E(d), SE(d)   translations, alone and with these
R+(d)               scalings x -> s x with s > 0
GL+(d), SL(d)       matrices of positive determinant, and of determinant 1
Aff+(d), SAff(d)    these with translations
S_n                 permutations of nodes
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.symmetry.affine import SCALE, Linear, random_matrices
from geqlib.symmetry.rotations import random_rotation, random_translation
from geqlib.symmetry.types import TensorType, Typed, rotate

# name: (its matrices, whether it has translations)
_GEOMETRIC = {
    "O": ("O", False),
    "SO": ("SO", False),
    "E": ("O", True),
    "SE": ("SO", True),
    "T": ("", True),
    "R+": ("R+", False),
    "GL+": ("GL+", False),
    "SL": ("SL", False),
    "Aff+": ("GL+", True),
    "SAff": ("SL", True),
}


@dataclass(frozen=True)
class Group:
    """A group of permutations, matrices and translations.

    Args:
        label: its name in messages.
        dim: d of the space on which it acts, 0 for permutations alone.
        linear: its matrices: "O", "SO", "R+", "GL+", "SL", or "" for the identity alone.
        translates: whether it has translations.
        permutes: whether it exchanges nodes and edges.
        matrices: [n, d, d], in place of `linear`, for a finite group.
        space: dimensions of the points, of which it moves the first `dim`; 0 if these are all.
    """

    label: str
    dim: int = 0
    linear: str = ""
    translates: bool = False
    permutes: bool = False
    matrices: Tensor | None = None
    space: int = 0

    @property
    def width(self) -> int:
        """Dimensions of the points on which it acts."""
        return self.space or self.dim

    @property
    def factors(self) -> list[Group]:
        """The groups of which its name is a product; itself if it is none."""
        if self.matrices is not None:
            return [self]
        return [parse_group(name, any_dimension=True) for name in _factor_names(self.label)]

    @property
    def proper(self) -> bool:
        """Whether its matrices are rotations only."""
        return self.linear == "SO"

    @property
    def stretches(self) -> bool:
        """Whether some of its matrices are not orthogonal."""
        return self.linear in get_args(Linear)


@dataclass(frozen=True)
class Element:
    """A group element: x -> R x + t, and new node i is old node nodes[i]; None is the identity."""

    matrix: Tensor | None
    shift: Tensor | None
    nodes: Tensor | None
    edges: Tensor | None


def parse_group(group: str | Tensor, *, any_dimension: bool = False) -> Group:
    """A group from its name, such as "SO(3)" or "S_n x E(3)", or from the matrices of a finite one.

    Args:
        group: factors S_n, O(d), SO(d), E(d), SE(d), T(d) (translations), R+(d) (scalings),
            GL+(d), SL(d), Aff+(d) or SAff(d), joined by "x"; or orthogonal matrices [n, d, d].
        any_dimension: whether d may be anything else than 2 or 3.

    Raises:
        ValueError: an unknown group.

    Example:
        >>> parse_group("S_n x SE(3)").proper
        True
    """
    if isinstance(group, Tensor):
        return _finite_group(group)
    dimension = r"[1-9]\d*" if any_dimension else "[23]"
    names = "|".join(map(re.escape, _GEOMETRIC))
    pattern = rf"S_n|({names})\(({dimension})\)"
    matches = [re.fullmatch(pattern, name) for name in _factor_names(group)]
    factors = [(m[1], int(m[2] or 0)) for m in matches if m is not None]
    if len(set(factors)) < len(matches):
        raise ValueError(
            f"group {group!r} is unknown: write 'S_n', 'O', 'SO', 'E', 'SE' or 'T' with (2) or (3),"
            " 'R+', 'GL+', 'SL', 'Aff+' or 'SAff' in the same way, a product such as 'S_n x E(3)', "
            "or give a tensor [n, d, d] of matrices; other dimensions than 2 and 3 are for frames "
            "alone."
        )
    dims = {dim for _, dim in factors if dim}
    if len(dims) > 1:
        raise ValueError(f"group {group!r} mixes {_listed(dims)} dimensions: keep one of them.")
    geometric = [_GEOMETRIC[name] for name, _ in factors if name]
    matrices = {linear for linear, _ in geometric if linear}
    if len(matrices) > 1 and not matrices <= {"O", "SO"}:
        raise ValueError(f"group {group!r} has matrices of two groups: keep one of them.")
    return Group(
        group,
        dim=max(dims, default=0),
        linear=min((linear for linear, _ in geometric if linear), default=""),  # O before SO
        translates=any(translates for _, translates in geometric),
        permutes=len(geometric) < len(factors),
    )


def _factor_names(group: str) -> list[str]:
    return re.split(r"\s*x\s*", group)


def _listed(numbers: set[int]) -> str:
    return " and ".join(str(number) for number in sorted(numbers))


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


def in_space(group: Group, inputs: Typed) -> Group:
    """A group of the plane as one of space, about the z axis, if that is where the inputs are.

    Example:
        >>> from geqlib.symmetry.types import parse_type
        >>> points = {"pos": (torch.zeros(4, 3), parse_type("pos", "point"))}
        >>> in_space(parse_group("SO(2)"), points).width
        3
    """
    rotating = [(x, type_) for x, type_ in inputs.values() if type_.rotates]
    widths = {x.shape[-1:] if type_.cartesian else (3,) for x, type_ in rotating}
    if group.dim != 2 or widths != {(3,)}:
        return group
    if group.matrices is None:
        return replace(group, space=3)
    return replace(group, dim=3, matrices=beside_identity(group.matrices, 3))


def beside_identity(matrix: Tensor, dim: int) -> Tensor:
    """Matrices [n, d, d] of the first dimensions, as matrices [n, dim, dim].

    Example:
        >>> beside_identity(torch.tensor([[[2.0]]]), 2)
        tensor([[[2., 0.],
                 [0., 1.]]])
    """
    whole = torch.eye(dim, dtype=matrix.dtype, device=matrix.device).repeat(len(matrix), 1, 1)
    whole[:, : matrix.size(1), : matrix.size(1)] = matrix
    return whole


def moves(group: Group, type_: TensorType) -> bool:
    """Whether some element of a group changes some tensor of a type.

    Example:
        >>> from geqlib.symmetry.types import parse_type
        >>> moves(parse_group("T(3)"), parse_type("x", "vector"))
        False
        >>> moves(parse_group("O(3)"), parse_type("x", "4x0o"))
        True
    """
    relabelled = type_.kind == "edge_index"
    exchanged = type_.level in ("node", "edge") and type_.kind != "batch"
    permuted = group.permutes and (relabelled or exchanged)
    shifted = group.translates and type_.kind == "point"
    return permuted or shifted or _turns(group, type_)


def check_moves(group: Group, types: Mapping[str, TensorType], owner: str) -> None:
    """Raise a ValueError if a group, or a factor of a product, moves none of the inputs.

    A function looks symmetric under what moves none of its inputs, and nothing was measured.

    Args:
        group: any.
        types: name -> type of the inputs.
        owner: whose inputs they are, for the error.

    Example:
        >>> from geqlib.symmetry.types import parse_type
        >>> check_moves(parse_group("S_n x SO(3)"), {"x": parse_type("x", "vector")}, "the network")
    """
    idle = [one for one in group.factors if not any(moves(one, t) for t in types.values())]
    if idle:
        whole = "" if idle[0].label == group.label else f", a factor of {group.label!r},"
        inputs = ", ".join(f"{name} ({t.text})" for name, t in types.items()) or "none"
        raise ValueError(
            f"{idle[0].label}{whole} acts on no input of {owner}, whose inputs are: {inputs}. "
            "Name a group that moves one of them, or add the input that it moves."
        )


def _turns(group: Group, type_: TensorType) -> bool:
    """Whether some matrix of a group changes some tensor of a type."""
    if not type_.rotates:
        return False
    if group.matrices is not None:
        entry = torch.arange(1, type_.width(group.dim) + 1, dtype=torch.float64).cos()
        entries = entry.expand(len(group.matrices), -1)
        return not torch.allclose(rotate(entries, type_, group.matrices), entries)
    if type_.cartesian or type_.degree > 0:
        return bool(group.linear)
    return group.linear == "O" and type_.pseudoscalar


def elements(
    group: Group,
    inputs: Typed,
    sizes: Mapping[str, int],
    samples: int,
    generator: torch.Generator,
    scale: float = SCALE,
) -> Iterator[Element]:
    """Random elements of the group; improper ones come first and then in turn.

    Args:
        group: any group.
        inputs: of the function; a "batch" among them restricts permutations to its graphs.
        sizes: number of nodes ("node") and of edges ("edge").
        samples: number of elements; of a finite group at most all.
        generator: of the draws.
        scale: of stretches, see `geqlib.symmetry.affine.random_matrices`.
    """
    batch = next((x.cpu() for x, type_ in inputs.values() if type_.kind == "batch"), None)
    matrices = group.matrices
    if matrices is not None:
        matrices = matrices[torch.randperm(len(matrices), generator=generator)[:samples]]
    for i in range(samples if matrices is None else len(matrices)):
        matrix = None if matrices is None else matrices[i]
        if group.stretches:
            kind = cast(Linear, group.linear)
            options = {"dtype": torch.float64, "generator": generator}
            matrix = random_matrices(1, group.dim, kind, scale=scale, **options)[0]
        elif group.linear:
            improper = group.linear == "O" and i % 2 == 0
            matrix = random_rotation(group.dim, generator, improper=improper)
        shift = random_translation(group.dim, generator) if group.translates else None
        if matrix is not None:
            matrix = beside_identity(matrix[None], group.width)[0]
        if shift is not None:
            shift = pad(shift, (0, group.width - group.dim))
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
        if g.matrix is not None:
            x = rotate(x, type_, g.matrix)
        if g.shift is not None and type_.kind == "point":
            x = x + g.shift
    if type_.kind == "edge_index" and g.nodes is not None:
        x = g.nodes.argsort()[x]
    order = {"node": g.nodes, "edge": g.edges}.get(type_.level)
    return x if order is None else x.index_select(type_.axis, order)
