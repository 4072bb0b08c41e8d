"""A device that is out of memory: which batch was too large, and what makes it smaller."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from geqlib.train.steps.divergence import intact_checkpoints


def batch_sizes(batch: Any, noun: str = "graph") -> str:
    """The sizes of a batch in words, by its shapes alone.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Batch
        >>> batch = Batch(batch=torch.zeros(3).long(), ptr=torch.tensor([0, 3]))
        >>> batch_sizes(batch)
        '1 graphs, 3 nodes'
    """
    parts = []
    if hasattr(batch, "num_graphs"):
        parts.append(f"{int(batch.num_graphs)} {noun}s")
    nodes, edges = (getattr(batch, name, None) for name in ("batch", "edge_index"))
    if isinstance(nodes, Tensor):
        parts.append(f"{len(nodes)} nodes")
    if isinstance(edges, Tensor):
        parts.append(f"{edges.size(-1)} edges")
    return ", ".join(parts)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory was missing; on a CPU, only the message says so.

    Example:
        >>> is_out_of_memory(torch.OutOfMemoryError()), is_out_of_memory(RuntimeError("shapes"))
        (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def out_of_memory(task: Any, trainer: L.Trainer) -> str:
    """What to say of a run that did not fit into the memory of its device.

    Args:
        task: whose `batch_at_hand` says which batch of which stage it was, and its sizes.
        trainer: of the run.
    """
    fitting = trainer.state.fn == "fit"
    at_hand = getattr(task, "batch_at_hand", None)
    where = f"in epoch {trainer.current_epoch}" if fitting else ""
    size = "batch_size"
    if at_hand is not None:
        stage, number, sizes = at_hand
        where = ", ".join(filter(None, (where, f"in batch {number} of {stage}")))
        where = where.replace(", in batch", ", batch") + (f" ({sizes})" if sizes else "")
        size = "batch_size" if stage == "training" else "eval_batch_size or batch_size"
    end = f"; {intact_checkpoints(trainer)}, from which it can be resumed" if fitting else ""
    return (
        f"The device is out of memory {where}: lower {size} of the data (with a larger "
        "trainer.accumulate_grad_batches the step stays the same), or channels and layers of the "
        f"model{end}."
    )
