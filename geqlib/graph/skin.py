"""Neighbours of atoms that move: searched again only when one of them has moved far."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from geqlib.graph.neighbors import Neighbors, neighbor_list


class SkinNeighbors:
    """`neighbor_list` for one structure after another, with the same edges in the same order.

    Pairs up to cutoff + skin apart are kept, and those within the cutoff picked out, as long as
    the cell stays and no atom has moved by more than skin / 2.

    Args:
        cutoff: distance, in the units of the positions.
        skin: the same; 0 searches every time.

    Attributes:
        searches: how often neighbours were searched.

    Example:
        >>> near = SkinNeighbors(1.2, skin=0.5)
        >>> pos = torch.tensor([[0.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
        >>> [near(x * pos).edge_index.size(1) for x in (1.0, 1.1, 1.21)], near.searches
        ([2, 2, 0], 1)
    """

    def __init__(self, cutoff: float, *, skin: float) -> None:
        if skin < 0:
            raise ValueError(f"skin must not be negative, got {skin}.")
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._last: tuple[Tensor, Tensor, Tensor] | None = None
        self._wide: Neighbors | None = None

    def __call__(
        self, pos: Tensor, cell: Tensor | None = None, pbc: Tensor | None = None
    ) -> Neighbors:
        """Neighbours within the cutoff.

        Args:
            pos: [N, 3] in float64.
            cell: [3, 3] vectors in rows, and pbc [3], as for `neighbor_list`.
        """
        cell = pos.new_zeros(3, 3) if cell is None else cell
        pbc = (cell != 0).any(1) if pbc is None else pbc
        wide = self._wide
        if wide is None or not self._still(pos, cell, pbc):
            reach = self.cutoff + self.skin
            wide = neighbor_list(pos, reach, cell=cell[None], pbc=pbc[None])
            self.searches += 1
            self._last, self._wide = (pos.clone(), cell.clone(), pbc.clone()), wide
        return _within(wide, pos, cell, self.cutoff) if self.skin else wide

    def _still(self, pos: Tensor, cell: Tensor, pbc: Tensor) -> bool:
        if self._last is None or self.skin == 0:
            return False
        before, old_cell, old_pbc = self._last
        if before.shape != pos.shape or not (cell.equal(old_cell) and pbc.equal(old_pbc)):
            return False
        moved = torch.linalg.vector_norm(pos - before, dim=1)
        # less than half: the search rounds, too; not a number is not less
        return bool((moved < 0.4999 * self.skin).all())


def _within(wide: Neighbors, pos: Tensor, cell: Tensor, cutoff: float) -> Neighbors:
    """The pairs of a longer list that are at most `cutoff` apart, in the same order."""
    source, target = wide.edge_index
    offset = pos[source] - pos[target] + wide.cell_shift.to(pos.dtype) @ cell
    near = torch.linalg.vector_norm(offset, dim=1) <= cutoff
    near = near & near[wide.reverse]
    number = near.cumsum(0) - 1
    return replace(
        wide,
        edge_index=wide.edge_index[:, near],
        cell_shift=wide.cell_shift[near],
        reverse=number[wide.reverse[near]],
    )
