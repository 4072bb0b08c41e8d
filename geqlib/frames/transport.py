"""Features of nodes with local frames, exchanged between the frames by irreps.

Source: Lippmann, Gerhartz, Remme and Hamprecht, "Beyond canonicalization: how tensorial messages
improve equivariant message passing" (ICLR 2025, arXiv 2405.15389). A node that sees the world in
its frame R_i describes a tensor of the world by coordinates x_i, which no rotation of the world
changes. In the frame of another node the same tensor has the coordinates

    D(R_i^T R_j) x_j = D(R_i)^T D(R_j) x_j.

`carried` is the right-hand side: matrices D are made for every node, not for every edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.graph.checks import as_index
from geqlib.sphere.wigner import WignerMatrices

SpaceGroup = Literal["E(3)", "SE(3)"]
# of each term of irreps its multiplicity and its degree: plain numbers, which can be compiled
Terms = Sequence[tuple[int, int]]


def carried(x: Tensor, maps: Sequence[Tensor], edge_index: Tensor, terms: Terms) -> Tensor:
    """[E, dim] features [N, dim] of each edge's source, as its target sees them."""
    source, target = edge_index
    world = out_of_frames(x, maps, terms)
    there = [A.index_select(0, target) for A in maps]
    return into_frames(world.index_select(0, source), there, terms)


def into_frames(x: Tensor, maps: Sequence[Tensor], terms: Terms) -> Tensor:
    """A x: tensors of the world [n, dim] in coordinates of n frames."""
    return _product(x, [A.mT for A in maps], terms)


def out_of_frames(x: Tensor, maps: Sequence[Tensor], terms: Terms) -> Tensor:
    """A^T x: coordinates [n, dim] in n frames as tensors of the world."""
    return _product(x, maps, terms)


def terms_of(irreps: o3.Irreps) -> Terms:
    """Multiplicities and degrees.

    Example:
        >>> terms_of(o3.Irreps("2x0e+1x1o"))
        ((2, 0), (1, 1))
    """
    return tuple((mul, ir.l) for mul, ir in irreps)


class FrameTransport(nn.Module):
    """Features of every edge's source, as the local frame of its target sees them.

    Symmetry: none of its own; with frames that turn with the points (`geqlib.nn.LocalFrames`)
    inputs and outputs are coordinates, which `group` leaves as they are, and so does relabelling.
    A network on them needs no symmetry to be equivariant as a whole.

    Source: Lippmann et al., "Beyond canonicalization: how tensorial messages improve equivariant
    message passing" (ICLR 2025, arXiv 2405.15389). With frames R whose columns are the axes, and
    D the representation of the irreps,

        m_ji = M_i D(R_i)^T D(R_j) M_j x_j.

    M is diagonal, and 1 where all axes of a frame are certain: nothing is dropped there. Where some
    are arbitrary, as those of a node with neighbours on one line, M drops the components of x that
    depend on them (`needed_axes`), and with no certain axis all but scalars. In between it
    multiplies a component by the certainty of the axes that it needs, which makes messages
    continuous.

    This is exact: frames that differ by a rotation or reflection h about the certain axes serve as
    well, and M keeps what all h leave as it is, D(h) M = M, so that messages do not depend on the
    choice. Basis and polar axis y are those of e3nn.

    Args:
        irreps: of the features, as "8x0e+8x1o+4x2e"; an irrep may stand several times.
        group: "E(3)" for frames that a reflection of the points reflects; "SE(3)" for right-handed
            ones, with which the parity of irreps has no meaning.

    Raises:
        ValueError: irreps that cannot be read or are empty, another group; in `forward`, shapes
            that do not fit.

    Example:
        >>> layer = FrameTransport("2x0e+1x1o")
        >>> axes = torch.eye(3).repeat(2, 1, 1)
        >>> axes[1] = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
        >>> x = torch.tensor([[1.0, 2, 1, 0, 0], [0, 0, 0, 0, 0]])
        >>> layer(x, axes, torch.tensor([[0], [1]])).tolist()
        [[1.0, 2.0, 0.0, -1.0, 0.0]]
    """

    def __init__(self, irreps: str | o3.Irreps, *, group: SpaceGroup = "E(3)") -> None:
        super().__init__()
        self.irreps, self.group = _read_irreps(irreps), check_space(group)
        self.terms, self.dim = terms_of(self.irreps), self.irreps.dim
        # of each term its name, and whether a reflection turns its sign against the harmonics
        self.kinds = tuple((str(ir), ir.p != (-1) ** ir.l) for _, ir in self.irreps)
        self.wigner = WignerMatrices(self.irreps.lmax)
        for _, ir in self.irreps:
            needed = needed_axes(ir, reflected=group == "E(3)")
            self.register_buffer(f"needed_{ir}", needed, persistent=False)

    def reset_parameters(self) -> None:
        """There are none."""

    def forward(
        self, x: Tensor, axes: Tensor, edge_index: Tensor, certainty: Tensor | None = None
    ) -> Tensor:
        """[E, irreps.dim] messages.

        Args:
            x: [N, irreps.dim] coordinates in the frame of each node.
            axes: [N, 3, 3] the axes x, y and z of each frame, in rows.
            edge_index: [2, E], source and target.
            certainty: [N, 3] of the axis y alone, of y and z, and of all: between 0 where it is
                arbitrary and 1. All 1 if it is left out.
        """
        if x.shape != (axes.size(0), self.dim) or axes.shape[1:] != (3, 3):
            raise ValueError(
                f"x has shape {list(x.shape)} and axes {list(axes.shape)}: expected "
                f"[N, {self.dim}] for {self.irreps}, and [N, 3, 3]."
            )
        return carried(x, self.maps(axes, certainty), as_index(edge_index), self.terms)

    def maps(self, axes: Tensor, certainty: Tensor | None = None) -> list[Tensor]:
        """A = M D(R)^T of every node, [N, 2l + 1, 2l + 1], for each term of the irreps.

        Layers on the same frames may share them, with `carried`, `into_frames` and
        `out_of_frames`.
        """
        with torch.autocast(axes.device.type, enabled=False):
            if certainty is not None and certainty.shape != (axes.size(0), 3):
                raise ValueError(
                    f"certainty has shape {list(certainty.shape)}, expected [{axes.size(0)}, 3]."
                )
            matrices, maps = self.wigner(axes), {}  # rows are axes: R^T
            for (name, turned), (_, degree) in zip(self.kinds, self.terms, strict=True):
                if name not in maps:
                    matrix = matrices[degree]
                    if turned and self.group == "E(3)":
                        matrix = matrix * _handedness(axes)[:, None, None]
                    maps[name] = (
                        matrix if certainty is None else self._mask(name, certainty) * matrix
                    )
            return [maps[name] for name, _ in self.kinds]

    def _mask(self, name: str, certainty: Tensor) -> Tensor:
        """The diagonal of M, [N, 2l + 1, 1]."""
        whole = torch.cat([torch.ones_like(certainty[:, :1]), certainty], 1)
        return whole.index_select(1, self.get_buffer(f"needed_{name}"))[:, :, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.irreps)!r}, group={self.group!r})"


def needed_axes(ir: o3.Irrep, *, reflected: bool) -> Tensor:
    """[2l + 1] how many axes of a frame, first y, then z, then x, each component of an irrep needs.

    Without axes only scalars are the same in all frames, with y alone also what rotations about y
    leave as it is, the component m = 0. Right-handed frames are fixed by y and z. Frames that may
    be reflected are not: x -> -x changes the sign of m < 0, or of m >= 0 if the parity is not
    (-1)^l.

    Example:
        >>> needed_axes(o3.Irrep("1o"), reflected=True).tolist()
        [3, 1, 2]
    """
    m = torch.arange(-ir.l, ir.l + 1)
    mirrored = (m < 0) if ir.p == (-1) ** ir.l else (m >= 0)
    proper = torch.where(m == 0, int(ir.l > 0), 2)
    return torch.where(mirrored & reflected, 3, proper)


def check_space(group: SpaceGroup) -> SpaceGroup:
    if group not in get_args(SpaceGroup):
        raise ValueError(f'group must be "E(3)" or "SE(3)", got {group!r}.')
    return group


def _handedness(axes: Tensor) -> Tensor:
    """[N] determinants as triple products: torch's have no second derivative in some transforms."""
    x, y, z = axes.unbind(1)
    return (x * torch.linalg.cross(y, z)).sum(1)


def _product(x: Tensor, maps: Sequence[Tensor], terms: Terms) -> Tensor:
    """x A for each term of the features, as rows [n, mul, 2l + 1]."""
    parts = []
    blocks = x.split([mul * (2 * degree + 1) for mul, degree in terms], 1)
    for part, (mul, degree), A in zip(blocks, terms, maps, strict=True):
        block = part.unflatten(1, (mul, 2 * degree + 1))
        parts.append((block * A if degree == 0 else block @ A).flatten(1))
    return torch.cat(parts, 1)


def _read_irreps(irreps: str | o3.Irreps) -> o3.Irreps:
    try:
        parsed = cast(o3.Irreps, o3.Irreps(irreps))
    except ValueError as error:
        raise ValueError(
            f"irreps={irreps!r} cannot be read: write irreps as '8x0e+8x1o'."
        ) from error
    if not parsed.dim:
        raise ValueError(f"irreps={irreps!r} holds no irreps: write for example '8x0e+8x1o'.")
    return cast(o3.Irreps, o3.Irreps([(mul, ir) for mul, ir in parsed if mul]))
