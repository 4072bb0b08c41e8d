"""Steps of peers that need an environment, and so a process, of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.device.timing import ROUNDS, reason
from benchmarks.peers.fused_products import MissingPeerError
from benchmarks.rows import Cell
from benchmarks.structures import THREE_BPA, molecule


class Peer:
    """A process in the environment of a peer, which answers as benchmarks/peers/mace_step.py does.

    Args:
        command: that starts it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line.

        Raises:
            RuntimeError: if it is an error, or the process has ended.
        """
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        for text in self.process.stdout or ():
            with suppress(json.JSONDecodeError):  # what a library prints
                reply = json.loads(text)
                if "error" in reply:
                    raise RuntimeError(reply["error"])
                return reply
        raise RuntimeError("the process of the peer has ended")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Remote:
    """A step of a peer in its own process.

    Args:
        peer: that makes it.
        prepare: the line that asks for it.
    """

    def __init__(self, peer: Peer, prepare: str) -> None:
        self.peer, self.prepare = peer, prepare
        peer.ask(prepare)

    def __call__(self) -> None:
        self.peer.ask("time")

    def seconds(self, seconds: float) -> float:
        """Median of about so many seconds of steps."""
        once = self.peer.ask("time")["seconds"]
        rounds = max(3, min(ROUNDS, int(seconds / max(once, 1e-3))))
        return median(self.peer.ask("time")["seconds"] for _ in range(rounds))

    def counts(self) -> dict[str, Cell]:
        return {name: float(self.peer.ask(name)["value"]) for name in ("launches", "memory")}


@contextmanager
def mace_steps(device: torch.device, channels: int) -> Iterator[Callable[[int, str], Remote]]:
    """MACE's steps on so many molecules, "train" or "evaluate", while the context lasts.

    What it yields raises a `MissingPeerError` if MACE, or what starts it, is not installed.
    """
    try:
        from ase import Atoms
        from ase.io import write

        from benchmarks.peers import mace

        why = "" if (mace.BIN / "python").exists() else "MACE is not installed: make peers"
    except ModuleNotFoundError as error:
        why = f"MACE's step needs a package: {reason(error)}"
    if why:

        def missing(graphs: int, task: str) -> Remote:
            raise MissingPeerError(why)

        yield missing
        return
    script = Path(mace.__file__).with_name("mace_step.py")
    # -P: the script's folder has a mace.py of its own
    python = [str(mace.BIN / "python"), "-P", "-W", "ignore", str(script)]
    peer = Peer([*python, str(device), str(channels)])

    def step(graphs: int, task: str) -> Remote:
        structures = Path(folder) / f"{graphs}.xyz"
        write(structures, [Atoms(*molecule(THREE_BPA))] * graphs, format="extxyz")
        return Remote(peer, f"prepare {structures} {task}")

    with TemporaryDirectory() as folder:
        try:
            yield step
        finally:
            peer.close()
