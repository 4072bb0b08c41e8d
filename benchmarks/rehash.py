"""Hashes of rows, computed from the commits that measured them; and why a row is stale.

A row names the commit whose code measured it, and keeps hashes of what it used. These are a
function of the tree of that commit alone: which definitions the benchmark leads to, and what they
say. So when `benchmarks/dependencies.py` draws this line anew, the hashes of earlier rows are
computed as if it had been drawn so then, with today's `dependencies.py` on that commit's files;
nothing of today's code enters. Whether a row is marked then is decided as ever, by comparing them
with today's.

Rows keep what they have, and their marks, where this cannot be done: those of uncommitted code, of
the first edition, without a commit, or with one that is not in the history of this branch. Of a row
that shows several runs the stamp and the hashes are those of the begin of one of them, as `oldest`
chose it.

    python benchmarks/rehash.py                      # all result files; then run tables.py
    python benchmarks/rehash.py --why accuracy/nbody # what has changed since its rows were measured
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.provenance import FIRST_EDITION, TOP, checkout, summary, used_by
from benchmarks.rows import RESULTS, Result, Row, read_result, write_result

STAMP = re.compile(r"geqlib \S+ at ([0-9a-f]{7,40})(?:,|$)")
UNREADABLE = "  its commit cannot be read"
Parts = dict[str, dict[str, str]]


def main() -> None:
    command = _arguments()
    for name in [command.why] if command.why else names():
        result = read_result(name)
        if command.why:
            sys.stdout.writelines(f"{line}\n" for line in reasons(result))
        elif (renewed := rehashed(result)) != result:
            write_result(renewed)
            sys.stdout.write(f"{name}\n")


def names() -> list[str]:
    """Of all results."""
    files = sorted(RESULTS.rglob("*.json"))
    return [path.relative_to(RESULTS).with_suffix("").as_posix() for path in files]


def rehashed(result: Result) -> Result:
    """A result whose rows have the hashes of their commits, where these can be read."""

    def renewed(row: Row) -> Row:
        parts = of_row(row, result.name)
        return replace(row, hashes=summary(parts)) if parts else row

    tables = (replace(t, rows=tuple(map(renewed, t.rows))) for t in result.tables)
    return replace(result, tables=tuple(tables))


def reasons(result: Result) -> Iterator[str]:
    """Of every commit that measured rows: what is different today, a line each."""
    rows = [row for table in result.tables for row in table.rows]
    now = used_by(result.name, checkout(TOP))
    for stamp in dict.fromkeys(row.stamp for row in rows if row.stamp):
        of_stamp = [row for row in rows if row.stamp == stamp]
        yield f"{', '.join(' '.join(row.labels) for row in of_stamp)}: {stamp}"
        before = of_row(of_stamp[0], result.name)
        yield from differences(before, now) if before else [UNREADABLE]


def differences(before: Parts, now: Parts) -> Iterator[str]:
    """What is new, missing or changed, a line each."""
    for kind in now:
        old, new = before[kind], now[kind]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                word = "new" if key not in old else "gone" if key not in new else "changed"
                yield f"  {kind} {word}: {key}"


def of_row(row: Row, name: str) -> Parts:
    """What the benchmark used in the commit that measured a row; {} if that cannot be read."""
    match = STAMP.match(row.stamp)
    if not match or FIRST_EDITION in row.stamp or not _is_ours(match[1]):
        return {}
    return of_commit(match[1], name)


@cache
def of_commit(commit: str, name: str) -> Parts:
    """What a benchmark used in a commit; {} if there was no such benchmark."""
    return used_by(name, checkout(_folder(commit)))


@cache
def _is_ours(commit: str) -> bool:
    command = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
    return subprocess.run(command, cwd=TOP, capture_output=True).returncode == 0


@cache
def _temporary() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def _folder(commit: str) -> Path:
    """The source of a commit, in a folder that goes with this process."""
    folder = Path(_temporary().name) / commit
    command = ["git", "archive", commit]
    archive = subprocess.run(command, cwd=TOP, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--why", metavar="NAME", help="of a benchmark: what has changed since")
    return parser.parse_args()


if __name__ == "__main__":
    main()
