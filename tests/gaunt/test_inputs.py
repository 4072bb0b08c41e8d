"""Inputs that Gaunt layers cannot read are refused, and without values there are shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.graph import directed_plan, paired_plan
from geqlib.nn import GauntConvolution, GauntPower, GauntTensorProduct
from tests.waits import waits

IRREPS = "4x0e+4x1o"
METHODS = ("sparse", "grid", "separable", "fft")


@dataclass
class Case:
    """A layer, and its arguments by name."""

    build: Callable[[], Any]
    inputs: dict[str, Tensor]


def product(**options: Any) -> Case:
    inputs = dict(zip("xy", torch.randn(2, 3, 16), strict=True))
    return Case(lambda: GauntTensorProduct(IRREPS, IRREPS, IRREPS, **options), inputs)


def power(elements: int) -> Case:
    inputs = {"x": torch.randn(3, 16)}
    if elements > 1:
        inputs["element"] = torch.tensor([0, 1, 1])
    return Case(lambda: GauntPower(IRREPS, IRREPS, 3, elements=elements), inputs)


def convolution() -> Case:
    inputs = {
        "x": torch.randn(3, 16),
        "direction": torch.randn(4, 3),
        "weight": torch.randn(4, 3, 4),
        "edge_index": torch.tensor([[0, 1, 2, 0], [1, 0, 1, 2]]),
    }
    return Case(lambda: GauntConvolution(IRREPS, IRREPS, 2), inputs)


CASES = {
    **{f"product, {method}": product(method=method) for method in METHODS},
    "product, all paths": product(paths="all"),
    "product, weights": product(weights="degree"),
    "product, mixed": product(weights="degree", mix=True),
    "power": power(1),
    "power, elements": power(2),
    "convolution": convolution(),
}
ARGUMENTS = [(case, name) for case in CASES for name in CASES[case].inputs]


def moved(inputs: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """The inputs with some of them without values."""
    return {n: x.to("meta") if n in names else x for n, x in inputs.items()}


@pytest.mark.parametrize("name", CASES)
def test_shapes_follow_without_values(name: str) -> None:
    case = CASES[name]
    expected = case.build()(**case.inputs)
    z = case.build().to("meta")(**moved(case.inputs, *case.inputs))
    assert (z.device.type, z.shape, z.dtype) == ("meta", expected.shape, expected.dtype)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_inputs_on_two_devices_are_refused(name: str, argument: str) -> None:
    case = CASES[name]
    message = f"{argument} is on meta, but the layer on cpu: move both to one device"
    with pytest.raises(ValueError, match=message):
        case.build()(**moved(case.inputs, argument))
    others = [n for n in case.inputs if n != argument]
    with pytest.raises(ValueError, match=f"{argument} is on cpu, but the layer on meta"):
        case.build().to("meta")(**moved(case.inputs, *others))


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_numbers_of_the_wrong_kind_are_refused(name: str, argument: str) -> None:
    case, x = CASES[name], CASES[name].inputs[argument]
    wrong = x.long() if x.is_floating_point() else x.float()
    with pytest.raises(ValueError, match=rf"{argument} has d?type torch.\w+: convert it"):
        case.build()(**case.inputs | {argument: wrong})


@pytest.mark.parametrize("shift", [-1, 1])
def test_elements_out_of_range_are_refused(shift: int) -> None:
    case = power(2)
    case.inputs["element"] += shift
    with pytest.raises(ValueError, match="but there are weights for 0 to 1: count elements from 0"):
        case.build()(**case.inputs)


def test_elements_of_few_bits() -> None:
    case, layer = power(2), power(2).build()
    small = case.inputs | {"element": case.inputs["element"].to(torch.uint8)}
    assert torch.equal(layer(**small), layer(**case.inputs))


@pytest.mark.parametrize("shift", [-1, 1])
def test_edges_out_of_range_are_refused(shift: int) -> None:
    case = convolution()
    case.inputs["edge_index"] += shift
    with pytest.raises(ValueError, match="edge_index names nodes outside of 0 to 2"):
        case.build()(**case.inputs)


@pytest.mark.parametrize("make", ["fewer nodes", "fewer edges", "pairs"])
def test_plans_of_other_graphs_are_refused(make: str) -> None:
    case, edge_index = convolution(), convolution().inputs["edge_index"]
    plan = {
        "fewer nodes": lambda: directed_plan(edge_index[:, :2], 2),
        "fewer edges": lambda: directed_plan(edge_index[:, :2], 3),
        "pairs": lambda: paired_plan(edge_index, 3),
    }[make]()
    with pytest.raises(ValueError, match="but there are 3 nodes and 4 edges: take directed_plan"):
        case.build()(**case.inputs, plan=plan)


def test_a_plan_elsewhere_is_refused() -> None:
    case = convolution()
    plan = directed_plan(case.inputs["edge_index"], 3).to("meta")
    with pytest.raises(ValueError, match="plan is on meta, but the layer on cpu"):
        case.build()(**case.inputs, plan=plan)


def test_the_host_waits_for_no_plan_that_is_there() -> None:
    case, layer = convolution(), convolution().build()
    plan = directed_plan(case.inputs["edge_index"], 3)
    assert waits(lambda: layer(**case.inputs, plan=plan)) == []
    assert len(waits(lambda: layer(**case.inputs))) == 1
