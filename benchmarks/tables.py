"""Write the tables of the documents from benchmarks/results.

A document marks a table by the script that measures it, such as `<!-- table:accuracy/nbody -->`;
the script's `table(result)` draws it from its result file.

python benchmarks/tables.py            # rewrite README.md and docs/*.md
python benchmarks/tables.py --check    # exit code 1 if a table is not what the files say
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measure import RESULTS, read_result

TOP = Path(__file__).parents[1]
MARKS = re.compile(r"(<!-- table:([\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    documents = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
    stale = [path for path in documents if _rewritten(path) != path.read_text()]
    if "--check" in sys.argv:
        sys.stdout.writelines(f"{p.name} disagrees with benchmarks/results\n" for p in stale)
        return 1 if stale else 0
    for path in stale:
        path.write_text(_rewritten(path))
    return 0


def _rewritten(path: Path) -> str:
    return MARKS.sub(lambda found: found[1] + _table(found[2]) + found[3], path.read_text())


def _table(name: str) -> str:
    if not (RESULTS / f"{name}.json").exists():
        return "Not measured yet.\n"
    script = import_module(f"benchmarks.{name.replace('/', '.')}")
    return script.table(read_result(name))


if __name__ == "__main__":
    raise SystemExit(main())
