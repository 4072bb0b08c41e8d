"""A network on sets of integers: every element's bits encoded, aggregated and decoded again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

NUMBERS = 1 << 8


class SetNetwork(nn.Module):
    """Bits of the answer to a question about a set of the numbers 0 to 255.

    Symmetry: exchanges of the elements of a set, as exactly as the aggregation keeps them. Source:
    Ong and Velickovic (LoG 2022, arXiv 2212.08541), section 5.1. With b_i(x) the bits of x, and two
    learnt vectors v_i0 and v_i1 for each of them,

        y = W GELU(decode(aggregate of GELU(encode(sum_i v_i b_i(x)))))

    The encoder is evaluated once for each of the 256 numbers, not once for each element.

    Args:
        channels: C.
        aggr: aggregation of torch_geometric or geqlib from C to C channels, or its name.
        out_bits: bits of the answer.

    Shapes:
        x [N] integers, batch [N] the set of each, output [num_graphs, out_bits], logits.

    Raises:
        ValueError: numbers that are not integers from 0 to 255, or batch without num_graphs.

    Example:
        >>> from geqlib.nn import MonoidAggregation
        >>> net = SetNetwork(16, MonoidAggregation(16, operator=["gru", "topk"])).eval()
        >>> net(torch.tensor([3, 200, 17]), torch.tensor([0, 0, 1]), num_graphs=2).shape
        torch.Size([2, 8])
    """

    def __init__(self, channels: int, aggr: Aggregation | str, *, out_bits: int = 8) -> None:
        super().__init__()
        if min(channels, out_bits) < 1:
            raise ValueError(
                f"channels and out_bits must be positive, got {channels} and {out_bits}."
            )
        self.channels, self.out_bits = channels, out_bits
        self.bit = nn.Parameter(torch.empty(8, 2, channels))
        self.encode = nn.Sequential(nn.Linear(channels, channels), nn.GELU())
        self.aggr = aggregation_resolver(aggr)
        self.decode = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, out_bits)
        )
        numbers = torch.arange(NUMBERS)
        self.bits: Tensor
        self.register_buffer("bits", numbers[:, None] >> torch.arange(8) & 1, persistent=False)
        nn.init.normal_(self.bit, std=8**-0.5)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.bit, std=8**-0.5)
        self.aggr.reset_parameters()
        for layer in (*self.encode, *self.decode):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(
        self, x: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Tensor:
        """Logits [num_graphs, out_bits] of the sets that `batch` makes of the numbers x."""
        if batch is None:
            batch, num_graphs = torch.zeros_like(x), 1
        elif num_graphs is None:
            raise ValueError("batch is given without num_graphs: pass the number of sets too.")
        codes = self.encode(self.bit[torch.arange(8, device=x.device), self.bits].sum(1))
        elements = nn.functional.embedding(_checked(x), codes)
        return self.decode(self.aggr(elements, batch, dim_size=num_graphs))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, {self.aggr}, out_bits={self.out_bits})"


def _checked(x: Tensor) -> Tensor:
    if x.dim() != 1 or x.is_floating_point() or x.dtype == torch.bool:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}: expected a vector of integers."
        )
    if torch.compiler.is_compiling() or x.numel() == 0:
        return x
    low, high = (int(end) for end in torch.aminmax(x))
    if low < 0 or high >= NUMBERS:
        raise ValueError(f"x goes from {low} to {high}: its elements must be 0 to 255.")
    return x
