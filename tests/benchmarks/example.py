"""A result with rows of every kind."""

from __future__ import annotations

from benchmarks.rows import Column, Result, Row, Table, Value

COLUMNS = (
    Column("degree", "degree"),
    Column("mse", "test MSE", "", "error"),
    Column("seconds", "time", "ms", ".1f", 1e3),
)
ROWS = (
    Row(("geqlib `A`",), {"degree": 2, "mse": Value(0.25, 0.01, (0.24, 0.26)), "seconds": 0.02}),
    Row(("peer",), {"degree": 2, "mse": 0.5, "seconds": 0.05}, "peer", "2 seeds"),
    Row(("paper",), {"mse": 2e-4}, "published", source="Someone et al. 2020"),
    Row(("old",), {"degree": 3, "mse": 0.3}, removed="removed", stamp="geqlib 1, first edition"),
)
TABLE = Table(("",), COLUMNS, ROWS, "mse", "Some words.")
RESULT = Result(
    "accuracy/balls",
    "How balls move",
    "Protocol: three balls.",
    (TABLE,),
    {"minutes": 2.0, "note": None},
    environment={"torch": "1"},
    options=("--seeds", "0"),
    wall_seconds=1.5,
)
