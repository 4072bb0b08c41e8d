"""Write the files beside this script: what the first edition of geqlib wrote, and what it offers.

Run with the first edition (commit 12124fa) on the path, ahead of this repository:

    git worktree add ../first 12124fa
    PYTHONPATH=../first:. OMP_NUM_THREADS=1 python -P -m tests.first_edition.make

or with the names of some parts at the end: names, states, ... It refuses to run with another
edition: files that a later one writes prove nothing about the first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import geqlib
from tests.first_edition import describe
from tests.test_public_api import PUBLIC

COMMIT = "12124fa"
FILES = Path(__file__).parent / "files"


def main(chosen: list[str]) -> None:
    check_edition()
    FILES.mkdir(exist_ok=True)
    for name, make in PARTS.items():
        if not chosen or name in chosen:
            make()


def check_edition() -> None:
    folder = Path(geqlib.__file__).parent
    command = ["git", "-C", str(folder), "diff", "--quiet", COMMIT, "--", "."]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{folder} is not that of commit {COMMIT}: put that on PYTHONPATH.")


def names() -> None:
    """Import paths, and signatures of public names."""
    defined = {module: describe.defined_names(module) for module in describe.modules("geqlib")}
    write_json("import_paths", defined)
    write_json("signatures", describe.public_signatures(PUBLIC))


def write_json(name: str, content: Any) -> None:
    """One line for each entry."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    (FILES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


PARTS = {"names": names}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
