"""Files from elsewhere: whatever is wrong with one becomes a sentence that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: str | Path, wrong: str, mend: str = "use the published file") -> Iterator[None]:
    """Parse a file within this: any error becomes a ValueError with file, reason and mend.

    Parsers stumble over damaged files in many ways (KeyError, struct.error, zlib.error, ...), and
    none of them is a mistake of the program.

    Args:
        path: of the file.
        wrong: what is then wrong with it, such as "is no OFF mesh".
        mend: what to do about it.

    Example:
        >>> with reading("sizes.json", "does not hold sizes", "write it again"):
        ...     {"a": 1}["b"]
        Traceback (most recent call last):
        ...
        ValueError: sizes.json does not hold sizes (KeyError: 'b'): write it again.
    """
    try:
        yield
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        known = type(error) is ValueError and text
        reason = text if known else f"{type(error).__name__}: {text}".removesuffix(": ")
        raise ValueError(f"{path} {wrong} ({reason}): {mend}.") from error
