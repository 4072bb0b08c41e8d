"""The configurations of this library, which commands find by name in any folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FOLDER = "configs"
PACKAGE = Path(__file__).parents[1]
# an installed package has them inside, a clone beside it
PLACES = (PACKAGE / FOLDER, PACKAGE.parent / FOLDER)


def with_shipped_configurations(words: Sequence[str]) -> list[str]:
    """Arguments in which `--config configs/NAME.yaml` is that of the library, if there is no other.

    Args:
        words: of a command.

    Example:
        >>> with_shipped_configurations(["--config", "own.yaml"])
        ['--config', 'own.yaml']
    """
    arguments = list(words)
    for k, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option != "--config":
            continue
        if equals:
            arguments[k] = f"--config={shipped(value)}"
        elif k + 1 < len(arguments):
            arguments[k + 1] = shipped(arguments[k + 1])
    return arguments


def shipped(path: str) -> str:
    """The library's file of this name, or the path itself where the folder has such a file.

    Example:
        >>> shipped("configs/no_such_name.yaml")
        'configs/no_such_name.yaml'
    """
    parts = Path(path).parts
    if len(parts) != 2 or parts[0] != FOLDER or Path(path).exists():
        return path
    own = (place / parts[1] for place in PLACES)
    return next((str(file) for file in own if file.is_file()), path)
