"""Parameters with a block for each element or level of theory, which grow in fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.elements import atomic_numbers

# by level of theory, where there are several
OF_LEVELS = tuple(f"model.statistics.{name}" for name in ("references", "seen", "shift"))
VECTORS = "model.levels.vectors.weight"


@dataclass(frozen=True)
class Table:
    """A parameter with a block of equal size for each element, or level of theory, along one axis.

    Args:
        axis: of the parameter.
        new, old: atomic numbers, or names of levels, in the order of the blocks.

    Example:
        >>> new = torch.zeros(3, 2)
        >>> Table(0, (1, 6, 8), (8, 1)).copy(new, torch.tensor([[8.0, 8.0], [1.0, 1.0]]))
        >>> new
        tensor([[1., 1.],
                [0., 0.],
                [8., 8.]])
    """

    axis: int
    new: tuple[Any, ...]
    old: tuple[Any, ...]

    def fits(self, new: Tensor, old: Tensor) -> bool:
        """Whether the shapes differ by the numbers of blocks alone."""
        sizes = [list(new.shape), list(old.shape)]
        lengths = [size.pop(self.axis) for size in sizes]
        counts = len(self.new), len(self.old)
        blocks = [divmod(n, count) for n, count in zip(lengths, counts, strict=True)]
        return sizes[0] == sizes[1] and blocks[0] == blocks[1] and not blocks[0][1]

    def copy(self, new: Tensor, old: Tensor) -> None:
        """Copy the blocks that both have."""
        shared = [z for z in self.old if z in self.new]
        to = new.new_tensor([self.new.index(z) for z in shared], dtype=torch.long)
        source = old.new_tensor([self.old.index(z) for z in shared], dtype=torch.long)
        values = old.unflatten(self.axis, (len(self.old), -1)).index_select(self.axis, source)
        view = new.unflatten(self.axis, (len(self.new), -1))
        view.index_copy_(self.axis, to, values.to(new))


def tables_of(
    task: nn.Module, elements: Sequence[int] | None, levels: Sequence[str]
) -> dict[str, Table]:
    """Tables by element or level of a task that has them, by the names of their parameters.

    Args:
        task: the new one.
        elements, levels: of the trained model, in the order of its tables.
    """
    tables: dict[str, Table] = {}
    own: Any = getattr(getattr(task, "model", None), "levels", None)
    if own is not None and levels:
        of_names = Table(0, own.names, tuple(levels))
        tables |= dict.fromkeys((VECTORS, *OF_LEVELS), of_names)
    for prefix, network in task.named_modules():
        if not hasattr(network, "element_axes"):
            continue
        part: Any = network
        new = tuple(int(z) for z in part.elements)
        old = tuple(elements or new)
        tables |= {
            f"{prefix}.{name}": Table(axis, new, old) for name, axis in part.element_axes.items()
        }
    return tables


def elements_in(description: Any) -> tuple[int, ...] | None:
    """The `elements` of the first network of a description that has some."""
    if not isinstance(description, Mapping):
        return None
    arguments = description.get("init_args") or {}
    elements = arguments.get("elements")
    if isinstance(elements, Sequence) and not isinstance(elements, str):
        return tuple(atomic_numbers.get(e, -1) if isinstance(e, str) else int(e) for e in elements)
    nested = (elements_in(part) for part in arguments.values())
    return next((part for part in nested if part), None)
