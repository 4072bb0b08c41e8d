"""Configurations that the first edition had under another name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

TABLE = "first_edition.txt"  # beside the configurations


def with_todays_configuration(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with a renamed file of `--config` replaced.

    Raises:
        ValueError: if today's file needs further options, which are named.
    """
    words = list(arguments)
    for n, word in enumerate(words):
        option, _, value = word.partition("=")
        if option not in ("--config", "-c"):
            continue
        at = n if value else n + 1
        if at < len(words):
            path = todays_file(Path(value or words[at]))
            words[at] = f"{option}={path}" if value else str(path)
    return words


def todays_file(path: Path) -> Path:
    """The file itself if there is one, else what replaces it; said on stderr."""
    table = path.parent / TABLE
    if path.exists() or not table.exists():
        return path
    for line in table.read_text(encoding="utf-8").splitlines():
        old, _, replacement = line.partition(": ")
        if old != path.name:
            continue
        name, *options = replacement.split(maxsplit=1)
        today = path.with_name(name)
        if options:
            raise ValueError(f"{path} is now: --config {today} {options[0]}")
        sys.stderr.write(f"{path} is now {today}, which is used.\n")
        return today
    return path
