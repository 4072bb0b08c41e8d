"""Exported models: weights and how to build the model, in one file that cannot run code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geqlib import __version__

KEY = "geqlib"  # of the metadata
FORMAT = 2


def model_header(
    description: dict[str, Any], weights: dict[str, Tensor], cutoff: float | None
) -> dict[str, str]:
    """The metadata of an exported model.

    Args:
        description: `{"class_path": ..., "init_args": {...}}` of the model.
        weights: its state dict.
        cutoff: of the neighbours in the data that it was trained on.

    Raises:
        ValueError: if the description holds more than plain values.
    """
    header = {
        "format": FORMAT,
        "version": __version__,
        "model": description,
        "cutoff": cutoff,
    }
    try:
        return {KEY: json.dumps(header | {"sha256": digest(header, weights)})}
    except TypeError as error:
        raise ValueError(f"The arguments of the model are not plain values ({error}).") from error


def read_model_file(path: str | Path) -> dict[str, Any]:
    """An exported model, in the shape that checkpoints have.

    Returns:
        "state_dict" with keys `model.*`, "hyper_parameters" with the description of the `model`,
        and "datamodule_hyper_parameters" with the `cutoff`.

    Raises:
        ValueError: with one sentence on what is wrong with the file.
    """
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "null"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"The model {path} is truncated or damaged ({error}): export it again."
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("model"), dict):
        raise ValueError(f"{path} does not say how its model was built: use `geqlib export`.")
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} was written by geqlib {header.get('version')} in the format "
            f"{header.get('format')}, which this version ({__version__}) does not know."
        )
    if header.pop("sha256", None) != digest(header, weights):
        raise ValueError(f"The model {path} is damaged (its checksum disagrees): export it again.")
    return {
        "state_dict": {f"model.{key}": value for key, value in weights.items()},
        "hyper_parameters": {"model": header["model"]},
        "datamodule_hyper_parameters": {"cutoff": header.get("cutoff")},
    }


def is_model_file(path: str | Path) -> bool:
    """Whether a file begins like safetensors: eight bytes, then a JSON object."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def digest(header: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """SHA-256 of what a header says beside it, and of all names and values of the weights."""
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(weights):
        value = weights[key].contiguous()
        found.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
