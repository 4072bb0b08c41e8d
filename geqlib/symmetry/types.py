"""How a tensor transforms, as a short text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_NAMED = {
    "index": ("node", "scalar"),
    "batch": ("node", "batch"),
    "edge_index": ("edge", "edge_index"),
    "edge_scalar": ("edge", "scalar"),
}


@dataclass(frozen=True)
class TensorType:
    where: str  # "input 'pos'", for messages
    text: str
    rows: str  # "node", "edge" or "graph"
    kind: str  # "scalar", "point", "vector", "batch", "edge_index" or an irreps string

    @property
    def axis(self) -> int:
        return 1 if self.kind == "edge_index" else 0

    @property
    def rotates(self) -> bool:
        return self.kind not in ("scalar", "batch", "edge_index")


Typed = Mapping[str, tuple[Tensor, TensorType]]


def parse_type(where: str, text: str) -> TensorType:
    """A type from its text; `where` is what an error names.

    Example:
        >>> parse_type("the output", "graph:vector").rows
        'graph'
    """
    rows, _, kind = text.rpartition(":")
    rows, kind = _NAMED.get(text, (rows or "node", kind))
    known = text in _NAMED or kind in ("scalar", "point", "vector") or irreps_dim(kind) > 0
    if not known or rows not in ("node", "edge", "graph"):
        raise ValueError(
            f"{where} has the unknown type {text!r}: write 'scalar', 'point', 'vector' or e3nn "
            "irreps such as '4x0e+2x1o', after 'graph:' or 'edge:' if its rows are no nodes, or "
            "'index', 'batch', 'edge_index', 'edge_scalar'."
        )
    return TensorType(where, text, rows, kind)


def irreps_dim(text: str) -> int:
    """Dimension of an irreps string, 0 if it is none."""
    from e3nn import o3  # here, as e3nn takes a second to import

    try:
        return o3.Irreps(text).dim
    except ValueError:
        return 0


def parse_input(where: str, pair: tuple[Tensor, str]) -> tuple[Tensor, TensorType]:
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Tensor)):
        raise ValueError(f"{where} must be a pair (tensor, type), got {type(pair).__name__}.")
    return pair[0], parse_type(where, pair[1])
