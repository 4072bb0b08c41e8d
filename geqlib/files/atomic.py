"""Files written whole or not at all, arrays kept in the user's cache, errors that name files."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

# what could not be written, by the folder that it belongs into
_IN_MEMORY: dict[Path, dict[str, np.ndarray]] = {}


def cache_dir() -> Path:
    """`GEQLIB_CACHE`, else geqlib in the user's cache folder, else a temporary one."""
    if folder := os.environ.get("GEQLIB_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geqlib"
    except RuntimeError:  # a user without a home, as in some containers
        return temporary_cache()


@cache
def temporary_cache() -> Path:
    """A folder for what the cache cannot take, which is removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="geqlib-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def warn_of_cache(error: OSError, what: str) -> None:
    """Say in one sentence that the cache cannot be written, where its data go and what to do."""
    reason = error.__cause__ or error
    warnings.warn(
        f"The cache cannot be written ({reason}): {what} until this program ends; set the "
        "environment variable GEQLIB_CACHE to a folder that can be written.",
        stacklevel=3,
    )


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that `path` is the old one or the whole new one, whatever happens between.

    Args:
        path: the file; its folder is created if need be.
        write: writes the content to the path that it is called with.

    Raises:
        OSError: if it could not be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        part.touch()
        mode = part.stat().st_mode & 0o777
        write(part)
        part.chmod(mode)  # safetensors creates files that only their owner can read
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path} could not be written ({error}): check the permissions and the free space on "
            "the disk."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def cached_arrays(
    name: str,
    parameters: dict[str, Any],
    build: Callable[[], dict[str, np.ndarray]],
    root: Path | None = None,
) -> dict[str, np.ndarray]:
    """Arrays that are a function of `parameters`: read from the cache, else built and kept there.

    The manifest, which holds the parameters and the SHA-256 of the arrays, is written last, and
    both files appear under their names only when complete: a killed run leaves nothing that could
    be taken for data. Files whose hash disagrees are built again, with a warning. Where nothing can
    be written, the arrays stay in memory, with a warning.

    Args:
        name: folder below the cache folder.
        parameters: everything that the arrays depend on, as JSON values.
        build: returns the arrays.
        root: the cache folder, `cache_dir()` by default.
    """
    text = json.dumps(parameters, sort_keys=True, default=_as_json)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = (cache_dir() if root is None else root) / name / key
    arrays = _IN_MEMORY.get(folder) or _read(folder, json.loads(text))
    if arrays is None:
        arrays = build()
        try:
            _write(folder, json.loads(text), arrays)
        except OSError as error:
            warn_of_cache(error, f"the data of {name} are kept in memory")
            _IN_MEMORY[folder] = arrays
    return dict(arrays)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reading(path: str | Path, wrong: str, fix: str = "use the published file") -> Iterator[None]:
    """Parse a file within this: any error becomes a ValueError with file, reason and fix.

    Parsers stumble over damaged files in many ways (KeyError, struct.error, zlib.error, ...), and
    none of them is an error of the program.

    Args:
        path: of the file.
        wrong: what is then wrong with it, such as "is no OFF mesh".
        fix: what to do about it.

    Example:
        >>> with reading("sizes.json", "does not hold sizes", "write it again"):
        ...     {"a": 1}["b"]
        Traceback (most recent call last):
        ...
        ValueError: sizes.json does not hold sizes (KeyError: 'b'): write it again.
    """
    try:
        yield
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        sentence = type(error) is ValueError and text
        reason = text if sentence else f"{type(error).__name__}: {text}".removesuffix(": ")
        raise ValueError(f"{path} {wrong} ({reason}): {fix}.") from error


def _as_json(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} cannot be written as JSON")


def _read(folder: Path, parameters: dict[str, Any]) -> dict[str, np.ndarray] | None:
    manifest, data = folder / "manifest.json", folder / "arrays.safetensors"
    try:
        if not manifest.exists():
            return None
    except OSError:  # a folder that may not be looked into
        return None
    try:
        content = json.loads(manifest.read_text())
        if content["parameters"] == parameters and content["sha256"] == file_hash(data):
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
