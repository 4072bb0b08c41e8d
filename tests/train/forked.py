"""`geqlib` in processes that have imported what it needs, as importing takes most of its time."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Callable
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
    return start_function(_command, (arguments,), folder, **environment)


def start_pair(arguments: list[str], folder: Path) -> list[Command]:
    """`geqlib ARGUMENTS` for two processes that train together, started as a cluster does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    rank = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    return [start(arguments, folder, **rank, LOCAL_RANK=str(number)) for number in range(2)]


def start_function(
    function: Callable[..., int | None], arguments: tuple, folder: Path, **environment: str
) -> Command:
    """A function of a module, called with arguments; it may return an exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    messages = folder / f"messages-{len(list(folder.glob('messages-*')))}"
    messages.touch()
    variables = dict(os.environ) | environment
    process = context.Process(target=_run, args=(function, arguments, str(messages), variables))
    process.start()
    return Command(process, messages)


def _run(
    function: Callable[..., int | None], arguments: tuple, messages: str, environment: dict
) -> None:
    os.environ.clear()
    os.environ |= environment
    for stream, path in ((1, os.devnull), (2, messages)):
        with Path(path).open("a") as file:
            os.dup2(file.fileno(), stream)
    raise SystemExit(function(*arguments))


def _command(arguments: list[str]) -> int:
    from geqlib.cli import main

    sys.argv = ["geqlib", *arguments]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return main(arguments)
