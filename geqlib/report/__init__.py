"""Tables and pictures of finished runs."""

from geqlib.report.run_report import write_report

__all__ = ["write_report"]
