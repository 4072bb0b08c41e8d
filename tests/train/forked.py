"""`geqlib` in processes that have imported what it needs, as importing takes most of its time."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELOADED = ["geqlib.cli.train", "geqlib.models", "tests.train.tiny"]


@dataclass(frozen=True)
class Command:
    """A command that runs; `process` is killed and stopped as any other."""

    process: Any
    messages: Path

    def finish(self, timeout: float = 300) -> tuple[int, str]:
        """Exit code and standard error."""
        self.process.join(timeout)
        self.process.kill()
        self.process.join()
        return self.process.exitcode, self.messages.read_text()


def start(arguments: list[str], folder: Path, **environment: str) -> Command:
    """`geqlib ARGUMENTS`; what it writes to the terminal goes to files in a folder.

    Args:
        arguments: of the command.
        folder: of its messages.
        environment: variables beside those of this process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    messages = folder / f"messages-{len(list(folder.glob('messages-*')))}"
    messages.touch()
    variables = dict(os.environ) | environment
    process = context.Process(target=_run, args=(arguments, str(messages), variables))
    process.start()
    return Command(process, messages)


def _run(arguments: list[str], messages: str, environment: dict[str, str]) -> None:
    from geqlib.cli import main

    os.environ.clear()
    os.environ |= environment
    for stream, path in ((1, os.devnull), (2, messages)):
        with Path(path).open("a") as file:
            os.dup2(file.fileno(), stream)
    sys.argv = ["geqlib", *arguments]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        raise SystemExit(main(arguments))
