"""`geqlib fit | validate | test | predict`: Lightning's options with this library's defaults."""

from __future__ import annotations

from collections.abc import Sequence

from geqlib.train import run
from geqlib.train.configuration import Command, ConfigReader


def main(command: Command, args: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code."""
    reader = ConfigReader(list(args), command)
    options = {name: reader.config_init[name] for name in reader.subcommand_options}
    getattr(run, command)(reader.run, **options)
    return 0
