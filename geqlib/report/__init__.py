"""Tables and pictures of finished runs, and of the benchmarks."""

from geqlib.report.board import Section, write_board
from geqlib.report.write import write_report

__all__ = ["Section", "write_board", "write_report"]
