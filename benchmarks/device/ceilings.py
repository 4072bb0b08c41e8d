"""What a machine can do: copies and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.device.contest import Setting
from benchmarks.device.timing import interleaved
from benchmarks.rows import Column, Row
from benchmarks.workloads import PRECISIONS, Place, Precision


def machine(setting: Setting) -> Iterator[Row]:
    """Copy bandwidth, and matrix products in each precision."""
    numbers = 2**16 if setting.tiny else 2**28
    rate = 8 * numbers / seconds_of_copy(setting, numbers) / 1e12
    yield Row(("copy, read and written",), {"rate": rate, "unit": "TB/s"})
    size = 128 if setting.tiny else 8192
    for name in PRECISIONS:
        setting.clock.check(f"matrix products in {name}")
        rate = 2 * size**3 / seconds_of_product(setting, size, name) / 1e12
        yield Row((f"matrix product, {name}",), {"rate": rate, "unit": "TFLOP/s"})


def seconds_of_copy(setting: Setting, numbers: int) -> float:
    long = torch.zeros(numbers, device=setting.device)
    other = torch.empty_like(long)
    return seconds_alone(lambda: other.copy_(long), setting)


def seconds_of_product(setting: Setting, size: int, precision: Precision) -> float:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    square = torch.randn(size, size, device=setting.device).to(dtype)
    result = torch.empty_like(square)
    place = Place(setting.device, precision="TF32" if precision == "TF32" else "fp32")

    def multiply() -> None:
        with place.context():
            torch.mm(square, square, out=result)

    return seconds_alone(multiply, setting)


def seconds_alone(run: Callable[[], object], setting: Setting) -> float:
    return interleaved({"alone": run}, setting.device, min(setting.seconds, 0.5))["alone"]


def machine_columns(cuda: bool) -> tuple[Column, ...]:
    return Column("rate", "rate", "", ".3g"), Column("unit", "")
