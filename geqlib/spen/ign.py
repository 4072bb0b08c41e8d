"""IGN: invariant graph networks of order 2."""

from __future__ import annotations

from typing import Any

from geqlib.spen.network import SPEN


class IGN(SPEN):
    """SPEN whose one ego net is the whole graph: memory grows with the square of its nodes.

    Symmetry: invariant under relabelling of the nodes, exactly. Source: Maron et al., "Invariant
    and Equivariant Graph Networks" (ICLR 2019, arXiv 1812.09902).

    Args:
        in_channels, out_channels, options: see `SPEN`, all but `hops`.

    Example:
        >>> import torch
        >>> net = IGN(3, 2, channels=8, layers=2)
        >>> net(torch.randn(3, 3), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, hops=None, **options)
