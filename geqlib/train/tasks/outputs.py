"""Checks that the outputs of a model fit the labels of a task."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

STAGES = ("val", "test", "fold")  # that have metrics; see `Task.validation_step`


def check_outputs(
    outputs: Tensor, batch: Any, model: nn.Module, classes: int | None = None
) -> None:
    """Raise a ValueError if outputs of a model cannot be compared with the labels `y` of a batch.

    Args:
        outputs: [graphs, targets], or [graphs, classes] logits.
        batch: of graphs; without `y`, as in predictions, only the number of classes is checked.
        model: the model that computed the outputs, which the message names.
        classes: number of classes of the task; None in regression.

    Raises:
        ValueError: outputs of another shape; the message names the arguments to change.
    """
    shape, name = tuple(outputs.shape), type(model).__name__
    if classes is not None and (outputs.dim() != 2 or outputs.size(1) != classes):
        raise ValueError(
            f"{name} returns {shape}, but the task has {classes} classes, and needs one "
            "output for each class and graph: set those of the model (out_scalars, out_graph or "
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
    """The scalars in the output of a model, which is a tensor or a pair (scalars, vectors)."""
    return output[0] if isinstance(output, tuple) else output
