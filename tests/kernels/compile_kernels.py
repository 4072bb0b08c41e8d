"""Compiles every kernel for a GPU, which needs none: prints their names."""

from __future__ import annotations

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from geqlib.kernels import edge_product_triton as edges
from geqlib.kernels import eigen3_triton as eigen3
from geqlib.kernels import grid_product_triton as grid
from geqlib.kernels import sphere_power_triton as power
from geqlib.kernels import symmetric_gru_triton as gru

INDICES = [
    "message",
    "other",
    "ptr",
    "antipode",
    "source",
    "target",
    "order",
    "order_x",
    "order_y",
    "order_z",
    "element",
]
NUMBERS = [
    "nodes",
    "kernels",
    "messages",
    "points",
    "channels",
    "stride",
    "paired",
    "members",
    "stored",
    "pairs",
    "waiting",
    "rows",
    "size_x",
    "size_y",
    "size_z",
    "elements",
    "count",
    "k_of_grad",
    "row_of_grad",
    "k_of_x",
    "row_of_x",
    "k_of_along",
    "row_of_along",
]
TABLES = ["of_x", "of_y", "of_z"]
EDGES: dict[str, Any] = {"ANTIPODE": True, "BLOCK_P": 16, "BLOCK_C": 64}
SLOPE: dict[str, Any] = {**EDGES, "BLOCK_F": 4, "BY_A": True}
GRID: dict[str, Any] = {"ROWS": grid.ROWS, "POINTS": grid.POINTS, "K1": 32, "K2": 16, "K3": 32}
POWER: dict[str, Any] = {"ROWS": power.ROWS, "POINTS": power.POINTS, "K": 16, "M": 32, "ORDER": 3}
KERNELS: list[tuple[Any, dict[str, Any]]] = [
    (edges._node_sum, {**EDGES, "FACTORS": 0, "OWN": "shared"}),
    (edges._node_sum, {**EDGES, "FACTORS": 3, "OWN": "each"}),
    (edges._edge_slope, {**SLOPE, "FACTORS": 0, "BY_W": False}),
    (edges._edge_slope, {**SLOPE, "FACTORS": 3, "BY_W": True}),
    (grid._grid_product, GRID),
    *(
        (power._powers, {**POWER, "CHOSEN": True, **shape})
        for shape in (
            {"EACH": False, "ALONG": False, "SHIFT": 0},
            {"EACH": True, "ALONG": False, "SHIFT": 0},
            {"EACH": False, "ALONG": True, "SHIFT": 1},
            {"EACH": True, "ALONG": True, "SHIFT": 1},
        )
    ),
    (power._slopes, {**POWER, "CHOSEN": False, "ALONG": False, "SHIFT": 1}),
    (power._slopes, {**POWER, "CHOSEN": True, "ALONG": True, "SHIFT": 2}),
    *((f, {"BLOCK": gru.BLOCK}) for f in (gru._sums, gru._gates, gru._gates_backward)),
    (gru._members, {"BLOCK": gru.BLOCK}),
    (eigen3._eigen3, {"BLOCK": eigen3.BLOCK, "SWEEPS": eigen3.SWEEPS}),
]


def compiled(kernel: Any, constants: dict[str, Any], pointer: str, ones: bool) -> None:
    """With `ones` every number is 1, which Triton takes for a constant."""
    constants = constants | {"WIDE": pointer == "*fp64"}
    if ones:
        constants |= dict.fromkeys(NUMBERS, 1)
    names = kernel.arg_names
    types = {name: pointer for name in names}
    types |= dict.fromkeys(INDICES, "*i64") | dict.fromkeys(NUMBERS, "i32")
    types |= dict.fromkeys(TABLES, "*fp64") | dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        kernel,
        {name: types[name] for name in names},
        {name: value for name, value in constants.items() if name in names},
    )
    triton.compile(source, target=GPUTarget("cuda", 90, 32))


if __name__ == "__main__":
    for kernel, constants in KERNELS:
        for pointer, ones in (("*fp32", False), ("*fp64", False), ("*fp32", True)):
            compiled(kernel, constants, pointer, ones)
        sys.stdout.write(f"{kernel.__name__}\n")
