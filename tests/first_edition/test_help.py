"""Every command, option and choice of the first edition's command line is still there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.first_edition import commands

FOLDER = Path(__file__).parent / "files" / "help"
# (command, option or choice): what to use instead
REMOVED: dict[tuple[str, str], str] = {}


def old_text(command: tuple[str, ...]) -> str:
    return (FOLDER / f"{' '.join(command) or 'geqlib'}.txt").read_text()


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda c: " ".join(c) or "geqlib")
def test_options_and_choices(command: tuple[str, ...]) -> None:
    old, new = old_text(command), commands.help_text(*command)
    gone = set(commands.options(old)) - set(commands.options(new))
    gone |= set(commands.choices(old)) - set(commands.choices(new))
    name = " ".join(command)
    gone -= {option for of, option in REMOVED if of == name}
    assert not gone, f"geqlib {name}: {', '.join(sorted(gone))}"


def test_commands() -> None:
    old, new = (commands.listed_commands(x) for x in (old_text(()), commands.help_text()))
    assert len(old) == len(commands.TRAINING + commands.OTHERS)
    assert set(old) <= set(new)


def test_what_is_listed_as_removed_was_there() -> None:
    for command, option in REMOVED:
        old = old_text((command,))
        assert option in commands.options(old) + commands.choices(old)
