"""Where raw files lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def find_file(path: str | Path) -> Path | None:
    """The file itself, else the one of that name below the folder `GEQLIB_DATA`; None if neither.

    Args:
        path: absolute, or relative to the working folder or to `GEQLIB_DATA`.
    """
    given = Path(path).expanduser()
    mirror = os.environ.get("GEQLIB_DATA")
    places = [given] if mirror is None else [given, Path(mirror) / given]
    return next((place for place in places if place.is_file()), None)


def find_files(paths: str | Sequence[str]) -> list[Path]:
    """The same of one path or several.

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
