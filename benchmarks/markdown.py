"""How numbers look in the documents' tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def small(value: float) -> str:
    """An error: four digits after the point, or in powers of ten below a thousandth."""
    return f"{value:.4f}" if value >= 1e-3 else f"{value:.1e}"


def spread(entry: dict[str, Any]) -> str:
    """Mean and standard deviation over seeds, as `benchmarks.training.summary` gives them."""
    if entry["std"] is None:
        return small(entry["mean"])
    return f"{entry['mean']:.5f} ± {entry['std']:.5f}"
