"""Variants of configurations: changes to a file in configs/ that its comments list by name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

VARIANT = re.compile(r"#   (\S+): (--.*(?:\n#     --.*)*)")


def variants(config: Path) -> dict[str, list[str]]:
    """name -> arguments, of all variants in the comments of a file.

    Example:
        >>> variants(Path("configs/mlearn_ponita.yaml"))["Si"]
        ['--data.train=mlearn/Si/train.extxyz.xz', '--data.test=mlearn/Si/test.extxyz.xz']
    """
    return {
        name: [expanded(word) for word in shlex.split(arguments.replace("\n#", " "))]
        for name, arguments in VARIANT.findall(config.read_text())
    }


def options(config: Path, name: str) -> dict[str, object]:
    """The changes of one variant, by dotted name."""
    pairs = (argument[2:].split("=", 1) for argument in variants(config)[name])
    return {key: yaml.safe_load(value) for key, value in pairs}


def expanded(word: str) -> str:
    """What a shell makes of the numbers $(seq -s, N)."""
    return re.sub(
        r"\$\(seq -s, (\d+)\)",
        lambda match: ",".join(str(k + 1) for k in range(int(match[1]))),
        word,
    )
