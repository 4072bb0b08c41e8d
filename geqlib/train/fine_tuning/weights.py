"""Weights of a trained model that a new task takes over, and those that begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.atoms.network import AtomNetwork
from geqlib.train.fine_tuning.origin import OF_ATOMS, OF_TASK, SEEN, Origin
from geqlib.train.fine_tuning.tables import OF_LEVELS, tables_of

EMBEDDING = "model.embedding.weight"
START_AT_0 = ("model.charges.", "model.levels.")  # without an effect until they are trained
SHOWN = 6  # names in a sentence


@dataclass(frozen=True)
class Taken:
    """What a new task has of a trained model.

    Args:
        statistics: whether mean and spread of what is predicted are those of the trained model.
        sentence: on the layers that begin anew or are left out; "" if all weights were taken over.

    Example:
        >>> Taken(True, "").statistics
        True
    """

    statistics: bool
    sentence: str


def take_over(task: nn.Module, origin: Origin) -> Taken:
    """Copy weights, statistics and normalisation of a trained model into a new task, in place.

    Tables by element keep the rows of elements that the trained model knows; rows of new elements
    stay as they are in the new task. So do layers that the trained model does not have, or has with
    another number of outputs.

    Args:
        task: whose weights are new.
        origin: what it begins with.

    Raises:
        ValueError: if a tensor differs in more than the number of outputs, in a network that Python
            built, or if no weight fits.
    """
    new, old = task.state_dict(), _renamed(task, origin)
    weights, anew = dict(task.named_parameters()), []
    # then arguments were compared, and nothing differs but outputs
    described = origin.model is not None and _is_described(task)
    tables = tables_of(task, origin.elements, origin.levels)
    for name, value in new.items():
        if name not in old:
            if not name.startswith(START_AT_0):
                anew.append(name)
        elif name == EMBEDDING and value.shape == old[name].shape:
            _copy_trained_rows(value, old[name], origin.trained_elements)
        elif name in tables and tables[name].fits(value, old[name]):
            tables[name].copy(value, old[name])
        elif name in OF_LEVELS and value.dim() == old[name].dim() + 1:
            # elements of a new level are those of its data
            value.copy_(old[name] if name != SEEN else torch.zeros_like(old[name]))
        elif value.shape == old[name].shape:
            value.copy_(old[name])
        elif not described and value.shape[1:] != old[name].shape[1:]:
            raise ValueError(_misfit(origin, task, name, value, old[name]))
        else:
            anew.append(name)
    if weights and all(name in anew for name in weights):
        raise ValueError(
            f"None of the weights of {origin.path} fits {type(task.model).__name__}, the model of "
            "this run: begin with a model of the same architecture, or leave out init."
        )
    left = [name for name in old if name.startswith(OF_TASK) and name not in new]
    own = _prefix(task)
    return Taken(
        not any(name not in weights and not name.startswith(own) for name in anew),
        _sentence(origin, [name for name in anew if name in weights], left, own),
    )


def _is_described(task: Any) -> bool:
    return isinstance(getattr(task, "hparams", {}).get("model"), dict)


def _prefix(task: Any) -> str:
    """Of the names of the network's weights."""
    return OF_ATOMS if isinstance(task.model, AtomNetwork) else OF_TASK


def _renamed(task: Any, origin: Origin) -> dict[str, Tensor]:
    """The trained weights, the network's under the names that they have in the new task."""
    old = dict(origin.weights)
    new, before = _prefix(task), origin.prefix
    if before is None:  # the file does not say how the model is built
        inside = any(name.startswith(OF_ATOMS) for name in old)
        before = OF_ATOMS if inside else OF_TASK
        if any(name.startswith(OF_ATOMS) for name in task.state_dict()) == inside:
            before = new
    if new == before:
        return old
    network = {name: x for name, x in old.items() if name.startswith(before)}
    return {new + name.removeprefix(before): x for name, x in network.items()}


def _sentence(origin: Origin, anew: Sequence[str], left: Sequence[str], prefix: str) -> str:
    """What does not fit, "" if all does. Statistics that are left out go without saying."""
    left = [name for name in left if name.startswith(prefix)]
    parts = []
    if anew:
        parts.append(
            f"{_layers(anew)} begin{'s' * (_count(anew) == 1)} anew, which the file lacks or has "
            "with another number of outputs"
        )
    if left:
        parts.append(f"{_layers(left)} of the file {'is' if _count(left) == 1 else 'are'} left out")
    if not parts:
        return ""
    return f"Weights begin with those of {origin.path} as far as they fit: {'; '.join(parts)}."


def _layers(names: Sequence[str]) -> str:
    layers = _layer_names(names)
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    return ", ".join(layers[:SHOWN]) + more


def _count(names: Sequence[str]) -> int:
    return len(_layer_names(names))


def _layer_names(names: Sequence[str]) -> list[str]:
    """Names as `freeze` takes them, one for weight and bias of a layer."""
    short = (name.removeprefix(OF_TASK).removeprefix(OF_TASK) for name in names)
    return list(dict.fromkeys(x.removesuffix(".weight").removesuffix(".bias") for x in short))


def _misfit(origin: Origin, task: nn.Module, name: str, new: Tensor, old: Tensor) -> str:
    return (
        f"The weights of {origin.path} do not fit {type(task).__name__}: {name} is "
        f"{tuple(old.shape)} in the checkpoint and {tuple(new.shape)} here. Build the network as "
        "the checkpoint's was, or leave it out of the configuration."
    )


def _copy_trained_rows(new: Tensor, old: Tensor, seen: Tensor | None) -> None:
    """Rows [119, F] of the elements that were trained; the others were never more than random."""
    if seen is None or not bool(seen.any()):
        new.copy_(old)
    else:
        new[seen] = old[seen].to(new)
