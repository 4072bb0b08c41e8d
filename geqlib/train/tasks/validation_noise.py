"""Random streams of validation graphs, whose noise is the same in every epoch and batch."""

from __future__ import annotations

from typing import Any

import torch

from geqlib.generation.molecules import stream

VALIDATION_SEED = 0


def validation_streams(batch: Any) -> list[torch.Generator]:
    """A random stream on the CPU for each graph of a batch.

    It depends on `index` [G], the number of the graph in its data set, alone: a validation loss
    with this noise is the same for every size of batches. Of data without `index` it depends on the
    position in the batch.

    Args:
        batch: of graphs.

    Example:
        >>> from torch_geometric.data import Batch
        >>> one, other = (Batch(index=torch.tensor(numbers)) for numbers in ([3, 7], [7]))
        >>> first, second = validation_streams(one)[1], validation_streams(other)[0]
        >>> torch.equal(*(torch.rand(2, generator=each) for each in (first, second)))
        True
    """
    index = getattr(batch, "index", None)
    numbers = range(batch.num_graphs) if index is None else index.flatten().tolist()
    return [stream(VALIDATION_SEED, number) for number in numbers]
