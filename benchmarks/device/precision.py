"""Time and error of each family in each precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.device.ceilings import seconds_alone
from benchmarks.device.contest import NOTE, Setting
from benchmarks.device.timing import reason
from benchmarks.rows import Cell, Column, Row
from benchmarks.workloads import (
    PRECISIONS,
    Place,
    Step,
    convolution,
    ego_nets,
    frames,
    gaunt_potential,
    monoid,
    ponita,
    ponita_potential,
    power,
    product,
)


def precision(setting: Setting) -> Iterator[Row]:
    """Time and error of each family in each precision, against float64 on the same device."""
    for family, build in families(setting).items():
        setting.clock.check(family)
        try:
            exact = build(Place(setting.device, torch.float64)).result()
        except Exception as error:
            yield Row((family, "float64"), {NOTE: reason(error)})
            continue
        for name in PRECISIONS:
            cells: dict[str, Cell] = {}
            try:
                step = build(replace(Place(setting.device), precision=name))
                error = (step.result() - exact).norm() / exact.norm()
                cells = {"error": float(error)}
                cells["seconds"] = seconds_alone(step, setting)
            except Exception as error:
                cells[NOTE] = reason(error)
            yield Row((family, name), cells)


def families(setting: Setting) -> dict[str, Callable[[Place], Step]]:
    """One workload of each, built in any precision."""
    if not setting.tiny:
        return {
            "PONITA, 96 complete graphs of 18": lambda p: ponita(p, 96, 18),
            "GauntNet, energies and forces, batch 64": lambda p: gaunt_potential(p, 64),
            "PONITA, energies and forces, batch 5": lambda p: ponita_potential(p, 5),
            "GauntConvolution, L = 2": lambda p: convolution(p, 2),
            "GauntTensorProduct, L = 4": lambda p: product(p, 4),
            "GauntPower, L = 3": lambda p: power(p, 3),
            "MonoidAggregation gru, 10000 sets of 16": lambda p: monoid(
                p, [16] * 10_000, kind="planned"
            ),
            "SPEN, 256 graphs of 39": lambda p: ego_nets(p, kind="planned", update=False),
            "FAGNN, 1000 graphs": lambda p: frames(p, 1000),
        }
    narrow: dict[str, Any] = {"nodes": 12, "channels": 4}
    return {
        "PONITA": lambda p: ponita(p, 2, channels=8, basis=8, layers=1),
        "GauntNet": lambda p: gaunt_potential(p, 1, channels=4, layers=1),
        "GauntConvolution": lambda p: convolution(p, 1, neighbors=3, **narrow),
        "GauntTensorProduct": lambda p: product(p, 2, **narrow),
        "GauntPower": lambda p: power(p, 1, **narrow),
        "MonoidAggregation": lambda p: monoid(p, [3] * 4, channels=8, kind="planned"),
        "SPEN": lambda p: ego_nets(p, 2, 6, channels=8, layers=1, kind="planned", update=False),
        "FAGNN": lambda p: frames(p, 2),
    }


def precision_columns(cuda: bool) -> tuple[Column, ...]:
    return (
        Column("seconds", "time", "ms", ".2f", 1e3),
        Column("error", "error of the output", "", ".0e"),
        Column(NOTE, "note"),
    )
