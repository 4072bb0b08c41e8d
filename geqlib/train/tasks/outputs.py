"""What tasks ask of the outputs of a model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

STAGES = ("val", "test", "fold")  # that have metrics; see `Task.validation_step`


def check_outputs(
    outputs: Tensor, batch: Any, model: nn.Module, classes: int | None = None
) -> None:
    """Refuse outputs of a model that the labels `y` of a batch cannot be compared with.

    Args:
        outputs: [graphs, targets], or [graphs, classes] logits.
        batch: with `y`, or without for predictions.
        model: that made them.
        classes: of the task; None for numbers.

    Raises:
        ValueError: naming what to set.
    """
    shape, name = tuple(outputs.shape), type(model).__name__
    if classes is not None and (outputs.dim() != 2 or outputs.size(1) != classes):
        raise ValueError(
            f"{name} returns {shape}, but the task has {classes} classes, and needs as many "
            "outputs of each graph: set those of the model (out_scalars, out_graph or "
            "out_channels), or `classes` of the task."
        )
    if "y" not in batch:
        return
    same = outputs.numel() == batch.y.numel() if classes is None else len(outputs) == len(batch.y)
    if not same:
        raise ValueError(
            f"{name} returns {shape}, but the labels y are {tuple(batch.y.shape)}: set its outputs "
            "(out_scalars, out_graph or out_channels) to the number of targets of each graph, and "
            'its level to "graph" if it has one.'
        )


def scalars_of(output: Any) -> Tensor:
    """The scalars of a model that returns them alone, or as (scalars, vectors)."""
    return output[0] if isinstance(output, tuple) else output
