"""Where raw files lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from geqlib.data.published import fetch_file, fetch_folder


def find_file(path: str | Path) -> Path | None:
    """The file itself, else the one of that name below the folder `GEQLIB_DATA`, else downloaded.

    Args:
        path: absolute, or relative to the working folder or to `GEQLIB_DATA`.

    Returns:
        The file; None if it is nowhere, and is none that geqlib can download.

    Raises:
        ValueError: if it could not be downloaded (see `geqlib.data.published`).
    """
    found = next((place for place in _places(path) if place.is_file()), None)
    return found or (None if Path(path).is_absolute() else fetch_file(path))


def find_folder(path: str | Path) -> Path | None:
    """The same of a folder, with all that geqlib can download of it."""
    found = next((place for place in _places(path) if place.is_dir()), None)
    return found or (None if Path(path).is_absolute() else fetch_folder(path))


def find_files(paths: str | Sequence[str]) -> list[Path]:
    """Files, of one path or several.

    Raises:
        ValueError: if a file is not there, or named twice.
    """
    named = [paths] if isinstance(paths, str) else list(paths)
    found = []
    for path in named:
        place = find_file(path)
        if place is None:
            raise ValueError(f"There is no file {path}, here or in the folder GEQLIB_DATA.")
        found.append(place)
    if len({place.resolve() for place in found}) < len(found):
        raise ValueError(f"One file is named twice in {', '.join(named)}.")
    return found


def _places(path: str | Path) -> list[Path]:
    given = Path(path).expanduser()
    mirror = os.environ.get("GEQLIB_DATA")
    return [given] if mirror is None else [given, Path(mirror) / given]
