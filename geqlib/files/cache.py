"""Generated data on the user's disk: complete and verified, or made again."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from geqlib.files.user_cache import cache_dir, replace_file


def cached_arrays(
    name: str,
    parameters: dict[str, Any],
    build: Callable[[], dict[str, np.ndarray]],
    root: Path | None = None,
) -> dict[str, np.ndarray]:
    """Arrays that are a function of `parameters`: read them, or build and keep them.

    The manifest, which holds the parameters and the SHA-256 of the arrays, is written last, and
    both files appear under their names only when complete: a killed run leaves nothing that could
    be taken for data. Files whose hash disagrees are made again, with a warning.

    Args:
        name: folder below the cache folder.
        parameters: everything that the arrays depend on, as JSON values.
        build: makes the arrays.
        root: the cache folder, `cache_dir()` by default.
    """
    text = json.dumps(parameters, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = (cache_dir() if root is None else root) / name / key
    found = _read(folder, json.loads(text))
    if found is not None:
        return found
    arrays = build()
    _write(folder, json.loads(text), arrays)
    return arrays


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path, parameters: dict[str, Any]) -> dict[str, np.ndarray] | None:
    manifest, data = folder / "manifest.json", folder / "arrays.safetensors"
    if not manifest.exists():
        return None
    try:
        known = json.loads(manifest.read_text())
        if known["parameters"] == parameters and known["sha256"] == file_hash(data):
            return load_file(data)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        pass
    warnings.warn(f"The cached data in {folder} is damaged: it is made again.", stacklevel=3)
    return None


def _write(folder: Path, parameters: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    data, manifest = folder / "arrays.safetensors", folder / "manifest.json"
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    replace_file(data, lambda part: save_file(whole, part))
    content = json.dumps({"parameters": parameters, "sha256": file_hash(data)}, indent=1)
    replace_file(manifest, lambda part: part.write_text(content))
