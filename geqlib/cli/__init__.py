"""The `geqlib` command, one file per subcommand."""

from geqlib.cli.main import main

__all__ = ["main"]
