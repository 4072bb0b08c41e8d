"""Files in the user's cache folder, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError


def cache_dir() -> Path:
    """`GEQLIB_CACHE`, else geqlib in the user's cache folder."""
    if folder := os.environ.get("GEQLIB_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geqlib"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that `path` is the old one or the whole new one, whatever happens between.

    Args:
        path: the file; its folder is made if need be.
        write: writes the content to the path that it is given.

    Raises:
        OSError: if it could not be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        part.touch()
        mode = part.stat().st_mode & 0o777
        write(part)
        part.chmod(mode)  # safetensors makes files that only their owner can read
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path} could not be written ({error}): check the permissions and the room on the "
            "disk."
        ) from error
    finally:
        part.unlink(missing_ok=True)
