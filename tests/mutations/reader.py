"""A reader of files, sound files for it, and what must hold of what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.mutations.mutators import Mutator


@dataclass(frozen=True)
class Reader:
    """A reader, and files for it.

    Args:
        write: sound files, into the working folder.
        read: them; what it gives is compared.
        files: pattern of those to be spoilt.
        ways: to spoil them.
        count: how often.
        check: (what was read, what is read from sound files) raises if that cannot be right.
        says: what stands for the name of the file in its errors, if that does not.
    """

    write: Callable[[], Any]
    read: Callable[[], Any]
    files: str
    ways: tuple[Mutator, ...]
    count: int
    check: Callable[[Any, Any], None] = lambda actual, sound: None
    says: str | None = None


class Payload:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("canary"),)


def same_arrays(actual: Any, sound: Any) -> None:
    """To the last bit: checksums let nothing else pass."""
    assert actual.keys() == sound.keys()
    for key, value in sound.items():
        assert np.array_equal(np.asarray(actual[key]), np.asarray(value)), key
