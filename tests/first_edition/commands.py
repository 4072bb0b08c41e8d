"""The command line as text: what each command's help says, and which options it shows."""

from __future__ import annotations

import io
import os
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from geqlib.cli import main

TRAINING = ("fit", "validate", "test", "predict")
OTHERS = ("cv", "learning-curve", "check", "bench", "report", "export")
COMMANDS: tuple[tuple[str, ...], ...] = ((), *((name,) for name in (*TRAINING, *OTHERS)))


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `geqlib ARGUMENTS`."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), error.getvalue()


def help_text(*command: str) -> str:
    with patch.dict(os.environ, COLUMNS="80"):
        code, text, error = run(*command, "--help")
    if code:
        raise ValueError(f"geqlib {' '.join(command)} --help gives {code}: {error}")
    return text


def options(text: str) -> list[str]:
    """Names of options, without those that are Lightning's."""
    named = re.findall(r"(?<![\w-])--?[a-zA-Z][\w.-]*", text)
    return sorted({name for name in named if not name.startswith("--trainer.")})


def choices(text: str) -> list[str]:
    """All words in braces."""
    return sorted({word for part in re.findall(r"{(.*?)}", text) for word in part.split(",")})


def listed_commands(text: str) -> list[str]:
    """The commands that `geqlib --help` lists."""
    return sorted(set(re.findall(r"^  ([a-z-]+)(?:\s|$)", text, re.MULTILINE)))
