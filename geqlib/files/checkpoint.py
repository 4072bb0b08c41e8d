"""From a checkpoint back to a model."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from geqlib.files.model_file import is_model_file, read_model_file
from geqlib.files.program import is_program

__all__ = ["load"]
T = TypeVar("T")
# elsewhere in torch_geometric there are constructors that evaluate their arguments
LAYERS = ("aggr", "conv", "models", "norm")
TRUSTED = ("geqlib.", *(f"torch_geometric.nn.{part}." for part in LAYERS))
LARGEST = 100_000


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The model of a checkpoint, in evaluation mode, with the averaged weights where there are any.

    Args:
        path: a checkpoint of `geqlib fit`, or a file of `geqlib export`.
        model: the architecture, for checkpoints of training scripts that built it themselves.

    Raises:
        ValueError: if the file is missing, damaged or would run code, or does not say how its
            model was built.

    Example:
        >>> load("runs/water/checkpoints/best.ckpt")
        Traceback (most recent call last):
        ...
        ValueError: There is no checkpoint runs/water/checkpoints/best.ckpt: check the path.
    """
    checkpoint = read_stored(path)
    if model is None:
        arguments = checkpoint.get("hyper_parameters")
        description = arguments.get("model") if isinstance(arguments, dict) else None
        if not isinstance(description, dict):
            raise ValueError(
                f"The checkpoint {path} does not say how its model was built: pass the module as "
                "load(path, model=...)."
            )
        try:
            _check_sizes(description, checkpoint["state_dict"])
            model = build(description, nn.Module)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    weights = {
        str(key).removeprefix("model."): value
        for key, value in checkpoint["state_dict"].items()
        if str(key).startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"The weights of {path} do not fit the model ({first_mismatch(error)}): pass the one "
            "that they were trained for as load(path, model=...)."
        ) from error
    return model.eval()


def build(description: dict[str, Any], kind: type[T], *given: Any) -> T:
    """An object from `{"class_path": ..., "init_args": {...}}`, as configurations describe it.

    Only classes of geqlib and layers and models of torch_geometric are built, so that a file
    cannot name other code.

    Args:
        description: from a checkpoint.
        kind: what it must be.
        given: first arguments.

    Raises:
        ValueError: if the class is another, or does not take these arguments.
    """
    path = str(description.get("class_path"))
    cls = imported(path, kind)
    arguments = description.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"The checkpoint gives {path} {arguments!r} in place of arguments.")
    try:
        return cls(*given, **{str(key): _nested(value) for key, value in arguments.items()})
    except ValueError:  # says what is wrong itself
        raise
    except Exception as error:  # whatever torch makes of a width of -1
        raise ValueError(
            f"The checkpoint gives {path} arguments that this version does not take ({error}): "
            "build it yourself and pass it as load(path, model=...)."
        ) from error


def imported(path: str, kind: type[T]) -> type[T]:
    """The class that a checkpoint names, if it is a `kind` of geqlib or torch_geometric.nn."""
    place, _, name = path.rpartition(".")
    foreign = ValueError(
        f"The checkpoint asks for {path}, which is not a class of geqlib or a layer of "
        "torch_geometric: build it yourself and pass it as load(path, model=...)."
    )
    if not f"{place}.".startswith(("geqlib.", "torch_geometric.nn.")):
        raise foreign
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The checkpoint asks for {path}, which this version lacks.") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"The checkpoint asks for {path}, which is not a {kind.__name__}.")
    if not f"{found.__module__}.".startswith(TRUSTED):
        raise foreign
    return found


def read_stored(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, or of an exported model in the same shape."""
    if is_program(path):
        raise ValueError(
            f"{path} is a program, not a model: GeqCalculator(path, trusted=True) runs it."
        )
    return read_model_file(path) if is_model_file(path) else read_checkpoint(path)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, loaded without running any code from it.

    Raises:
        ValueError: with one sentence on what is wrong with the file.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no checkpoint {path}: check the path.")
    try:
        with ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch.load does not compare checksums
                raise BadZipFile("a checksum disagrees")
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
    if not (isinstance(content, dict) and isinstance(content.get("state_dict"), dict)):
        raise ValueError(f"{path} is not a checkpoint: it holds no state_dict.")
    return content


def data_cutoff(stored: dict[str, Any]) -> float | None:
    """The cutoff of the data that a stored model was trained on; None if it had none."""
    data = stored.get("datamodule_hyper_parameters")
    cutoff = data.get("cutoff") if isinstance(data, dict) else None
    if cutoff is None:
        return None
    if not isinstance(cutoff, (int, float)) or not cutoff > 0:
        raise ValueError(f"The cutoff of the data in a checkpoint is {cutoff!r}: train it again.")
    return float(cutoff)


def first_line(error: BaseException) -> str:
    """What an error says, in one short line."""
    text = str(error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__


def first_mismatch(error: RuntimeError) -> str:
    """The first tensor that `load_state_dict` complains about."""
    lines = str(error).strip().splitlines()
    return lines[min(1, len(lines) - 1)].strip() if lines else type(error).__name__


def _check_sizes(description: Any, weights: dict[str, Any]) -> None:
    """Refuse widths and depths that would fill the memory before they turn out not to fit."""
    parts = description.values() if isinstance(description, dict) else description
    known = sum(w.numel() for w in weights.values() if isinstance(w, torch.Tensor))
    for part in parts:
        if isinstance(part, (dict, list, tuple)):
            _check_sizes(part, weights)
        elif isinstance(part, int) and part > max(LARGEST, known):
            raise ValueError(f"The checkpoint gives the size {part}, but holds {known} weights.")


def _nested(value: Any) -> Any:
    return build(value, nn.Module) if isinstance(value, dict) and "class_path" in value else value
