"""`geqlib bench` and `geqlib report --board`: scripts of a clone, which are not in the wheel."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import geqlib

OUTSIDE = """usage: geqlib bench [accuracy | speed] [NAME ...]

Run benchmarks by name, or list them. They are scripts of the repository and not part of the
package: clone it and run geqlib in the clone, where --help lists the options.
"""


def main(arguments: Sequence[str]) -> int:
    """Run benchmarks of the clone; returns the exit code."""
    if {"-h", "--help"} & {*arguments} and clone() is None:
        sys.stdout.write(OUTSIDE)
        return 0
    return load_script("run.py").main(arguments)


def draw_board(out: Path) -> int:
    """Draw what the benchmarks of the clone measured; returns the exit code."""
    return load_script("board.py").main(["--out", str(out)])


def load_script(name: str) -> Any:
    """The module of a script in the clone's benchmarks/.

    Raises:
        ValueError: if there is no clone.
    """
    folder = clone()
    if folder is None:
        raise ValueError(
            "There are no benchmarks here: they are scripts of the repository, so clone it and run "
            "geqlib in the clone."
        )
    path = folder / "benchmarks" / name
    spec = spec_from_file_location(f"geqlib_benchmarks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python script.")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def clone() -> Path | None:
    """The clone: the current folder, or that from which geqlib was installed as editable."""
    folders = (Path.cwd(), Path(geqlib.__file__).parents[1])
    return next((f for f in folders if (f / "benchmarks" / "run.py").exists()), None)
