"""From a checkpoint back to a model."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import nn


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The model of a checkpoint, in evaluation mode, with the averaged weights where there are any.

    Args:
        path: a checkpoint of `geqlib fit`.
        model: the architecture, for checkpoints of training scripts that built it themselves.

    Raises:
        ValueError: if the file is missing, damaged or would run code, or does not say how its
            model was built.
    """
    checkpoint = read_checkpoint(path)
    if model is None:
        description = checkpoint.get("hyper_parameters", {}).get("model")
        if not isinstance(description, dict):
            raise ValueError(
                f"The checkpoint {path} does not say how its model was built: pass the module as "
                "load(path, model=...)."
            )
        model = build(description)
    weights = {
        key.removeprefix("model."): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"The weights of {path} do not fit the model: {error}") from error
    return model.eval()


def build(description: dict[str, Any]) -> nn.Module:
    """A module from `{"class_path": ..., "init_args": {...}}`, as configurations describe it.

    Only modules of geqlib and torch_geometric are built, so that a file cannot name other code.
    """
    cls = imported(str(description.get("class_path")), nn.Module)
    arguments = description.get("init_args") or {}
    return cls(**{key: _nested(value) for key, value in arguments.items()})


def imported(path: str, kind: type) -> type:
    """The class that a checkpoint names, if it is a `kind` of geqlib or torch_geometric."""
    place, _, name = path.rpartition(".")
    if place.split(".")[0] not in ("geqlib", "torch_geometric"):
        raise ValueError(
            f"The checkpoint asks for {path}, which is not a class of geqlib or torch_geometric: "
            "build it yourself and pass it as load(path, model=...)."
        )
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The checkpoint asks for {path}, which this version lacks.") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"The checkpoint asks for {path}, which is not a {kind.__name__}.")
    return found


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, loaded without running any code from it.

    Raises:
        ValueError: with one sentence on what is wrong with the file.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no checkpoint {path}: check the path.")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"The checkpoint {path} is damaged, or would run code when loaded: nothing was run. "
            "Use one that geqlib wrote."
        ) from error
    except (RuntimeError, EOFError, OSError, BadZipFile, ValueError, KeyError) as error:
        raise ValueError(
            f"The checkpoint {path} is truncated or damaged ({first_line(error)}): use an earlier "
            "one."
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is not a checkpoint: it holds no state_dict.")
    return content


def first_line(error: Exception) -> str:
    """What an error says, in one short line."""
    text = str(error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__


def _nested(value: Any) -> Any:
    return build(value) if isinstance(value, dict) and "class_path" in value else value
