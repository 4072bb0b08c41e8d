"""Results of finished runs, kept on disk, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.training import RUNS
from geqlib.files.atomic import replace_file


def kept(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `run` returned when it was first called by this name, in runs/NAME.json.

    Args:
        name: says all that the result depends on, such as "nbody_products/gaunt-1-40-0".
        run: returns JSON values.
    """
    path = RUNS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    found = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda part: part.write_text(json.dumps(found) + "\n"))
    return found
