"""Tables and pictures of finished runs."""

from geqlib.report.write import write_report

__all__ = ["write_report"]
