"""Parts of a model that training leaves as they are, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from geqlib.elements import chemical_symbols

PREFIX = "model."
SHOWN = 12  # names in an error


def freeze(task: Any, patterns: Sequence[str]) -> None:
    """Freeze parts of a task's model: no gradient, no update, and statistics of batches stay.

    A frozen part is in evaluation mode throughout: its dropout is off, and its batch
    normalisation uses and keeps the statistics that it has.

    Args:
        task: whose model is trained.
        patterns: names of modules or parameters of the model, without leading `model.`, or
            patterns of such names: `embedding`, `layers.0`, `layers.*`, `*.bias`. What is below a
            module is frozen with it.

    Raises:
        ValueError: for a pattern that no name matches, or if nothing is left to train.

    Example:
        >>> from geqlib.models import PONITA
        >>> from geqlib.train import EnergyForces
        >>> task = EnergyForces(PONITA(8, 0, 1, 0, channels=8, layers=2, cutoff=5.0))
        >>> freeze(task, ["embedding", "blocks.0"])
        >>> task.model.embedding.weight.requires_grad
        False
    """
    modules = {_short(name): part for name, part in task.model.named_modules() if name}
    parameters = {_short(name): p for name, p in task.model.named_parameters()}
    for pattern in patterns:
        named = [name for name in {**modules, **parameters} if fnmatchcase(name, _short(pattern))]
        if not named:
            weighty = {n for n, part in modules.items() if any(True for _ in part.parameters())}
            raise ValueError(_unknown(pattern, task.model, {*weighty, *parameters}))
        for name in named:
            if name in modules:
                modules[name].requires_grad_(False)
                task.frozen.append(modules[name])
            else:
                parameters[name].requires_grad_(False)
    if not any(p.requires_grad for p in task.parameters()):
        raise ValueError(
            f"freeze names all weights of {type(task.model).__name__} ({', '.join(patterns)}): "
            "leave some to train."
        )
    task.train(task.training)


def check_new_elements(task: Any, elements: Sequence[int]) -> None:
    """Refuse elements whose weights are new, and would remain at random.

    Args:
        task: with its frozen parts.
        elements: atomic numbers that the model did not know before.

    Raises:
        ValueError: naming the weights and the elements.
    """
    names = {"embedding.weight"}
    for prefix, part in task.model.named_modules():
        names |= {f"{prefix}.{name}" for name in getattr(part, "element_axes", {})}
    frozen = [
        _short(name)
        for name, p in task.model.named_parameters()
        if name in names and not p.requires_grad
    ]
    if elements and frozen:
        listed = ", ".join(chemical_symbols[z] for z in elements)
        raise ValueError(
            f"freeze keeps {frozen[0]} as it is, but {listed} is new to the model, with weights at "
            "random: leave that part out of freeze."
        )


def _short(name: str) -> str:
    """A name without the modules that hold the network: tasks and potentials call it `model`."""
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def _unknown(pattern: str, model: nn.Module, names: Iterable[str]) -> str:
    top = {name.partition(".")[0] for name in names} - {"model"}
    lists = {
        f"{name}.{number}"
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList)
        for number in range(len(part))
    }
    listed = sorted(top | {_short(name) for name in lists if _short(name).count(".") == 1})
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    near = get_close_matches(pattern, sorted(names), n=1)
    return (
        f"freeze names {pattern!r}, and the model has no such part: it has "
        f"{', '.join(listed[:SHOWN])}{more}, and what is below these"
        + (f"; did you mean {near[0]}?" if near else ".")
    )
