"""Plain values: what a checkpoint holds beside tensors, so that reading it runs no code."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from os import PathLike, fspath
from types import FrameType
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

SCALARS: dict[Any, type] = {
    np.bool_: bool,
    (int, np.integer): int,
    (float, np.floating): float,
    (complex, np.complexfloating): complex,
    str: str,
}


def plain(value: Any, name: str = "the value", *, tensors: bool = False) -> Any:
    """The same value as None, booleans, numbers, text, lists, tuples and dictionaries.

    numpy's numbers become Python's; arrays, tensors and ranges become lists; paths, irreps and
    devices text; members of an enumeration their values. What is plain stays the same object.

    Args:
        value: anything.
        name: what the error calls it.
        tensors: whether tensors stay, and arrays become tensors.

    Raises:
        ValueError: if it is or contains anything else, such as a function.

    Example:
        >>> plain({"sizes": np.array([3, 5]), "irreps": o3.Irreps("2x0e")})
        {'sizes': [3, 5], 'irreps': '2x0e'}
        >>> plain(print, "loss")
        Traceback (most recent call last):
        ...
        ValueError: loss is a builtin_function_or_method, which a checkpoint cannot hold without \
running code when it is read: give numbers, text, or lists, tuples and dictionaries of these.
    """
    if value is None or type(value) in (bool, int, float, complex, str, torch.dtype):
        return value
    if isinstance(value, Enum):
        return plain(value.value, name, tensors=tensors)
    if isinstance(value, Tensor):
        return value if tensors else value.tolist()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return torch.tensor(value) if tensors else plain(value.tolist(), name)
    if isinstance(value, (PathLike, o3.Irreps, o3.Irrep, torch.device)):
        return str(fspath(value) if isinstance(value, PathLike) else value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, name, tensors)
    if isinstance(value, (list, tuple, range)):
        return _plain_sequence(value, name, tensors)
    for kind, python in SCALARS.items():
        if isinstance(value, kind):
            return python(value)
    raise ValueError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot hold without running code "
        "when it is read: give numbers, text, or lists, tuples and dictionaries of these."
    )


class PlainArguments:
    """Mixin of tasks and data modules: their checkpoints hold their arguments as plain values.

    Arguments that are modules are left out, because the weights of a module are saved with it.
    """

    hparams: Any
    _hparams_initial: Any

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Any = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """As Lightning's, and raise a ValueError that names an argument that is not plain."""
        if frame is None:
            current = inspect.currentframe()
            frame = None if current is None else current.f_back
        parent: Any = super()
        parent.save_hyperparameters(*args, ignore=ignore, frame=frame, logger=logger)
        owner = type(self).__name__
        for name, value in list(self.hparams.items()):
            if isinstance(value, nn.Module):
                del self.hparams[name]
            else:
                self.hparams[name] = plain(value, f"The argument {name} of {owner}")
        self._hparams_initial = copy.deepcopy(self.hparams)


def _plain_mapping(value: Mapping[Any, Any], name: str, tensors: bool) -> Any:
    parts = {
        plain(key, f"a key of {name}"): plain(part, f"{name}[{key!r}]", tensors=tensors)
        for key, part in value.items()
    }
    pairs = zip(parts.items(), value.items(), strict=False)
    same = len(parts) == len(value) and all(a is c and b is d for (a, b), (c, d) in pairs)
    return value if same and type(value) in (dict, OrderedDict) else parts


def _plain_sequence(value: Any, name: str, tensors: bool) -> Any:
    parts = [plain(part, f"{name}[{k}]", tensors=tensors) for k, part in enumerate(value)]
    if type(value) in (list, tuple) and all(a is b for a, b in zip(parts, value, strict=True)):
        return value
    return tuple(parts) if isinstance(value, tuple) else parts
