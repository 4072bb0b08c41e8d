"""Random numbers for graphs side by side: from one stream, or from a stream of each graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths

Streams = torch.Generator | Sequence[torch.Generator] | None


def uniform(graph: Tensor, streams: Streams) -> Tensor:
    """Numbers of [0, 1) in float64.

    Args:
        graph: [n] graph of each.
        streams: one generator on the device of `graph`, None for torch's own, or a generator on
            the CPU for each graph: its numbers then do not depend on the other graphs.

    Returns:
        [n], in the order of `graph`.

    Example:
        >>> streams = [torch.Generator().manual_seed(k) for k in (5, 7)]
        >>> both = uniform(torch.tensor([1, 0, 1]), streams)
        >>> alone = uniform(torch.tensor([0, 0]), [torch.Generator().manual_seed(7)])
        >>> torch.equal(both[[0, 2]], alone)
        True
    """
    if streams is None or isinstance(streams, torch.Generator):
        options = {"generator": streams, "device": graph.device}
        return torch.rand(len(graph), dtype=torch.float64, **options)
    counts = segment_lengths(graph, len(streams)).tolist()
    parts = [torch.zeros(0, dtype=torch.float64)]
    for count, stream in zip(counts, streams, strict=True):
        parts.append(torch.rand(count, dtype=torch.float64, generator=stream))
    drawn = torch.cat(parts).to(graph.device)
    return torch.empty_like(drawn).index_copy(0, graph.argsort(stable=True), drawn)


def integers(high: int, graph: Tensor, streams: Streams) -> Tensor:
    """Integers from 0 to `high` - 1, see `uniform`.

    Example:
        >>> integers(1, torch.tensor([0, 0, 1]), None)
        tensor([0, 0, 0])
    """
    if streams is None or isinstance(streams, torch.Generator):
        return torch.randint(high, (len(graph),), generator=streams, device=graph.device)
    return (uniform(graph, streams) * high).long()
