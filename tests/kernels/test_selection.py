"""Which form of an operator runs, and that nothing needs Triton."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from geqlib.graph import directed_plan
from geqlib.kernels import plain, selection, watch
from geqlib.kernels.edge_product import edge_product
from geqlib.kernels.selection import fused
from geqlib.nn import GauntPower, GauntTensorProduct

WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
import geqlib.models, geqlib.nn
from geqlib.graph import directed_plan
from geqlib.kernels import selection, watch
from geqlib.kernels.edge_product import edge_product
selection.DEVICES.add("cpu")
plan = directed_plan(torch.tensor([[0], [1]]), 2).ordered()
with watch() as choices:
    edge_product(torch.ones(2, 1, 3), torch.ones(1, 1, 3), plan)
    geqlib.nn.MonoidAggregation(2)(torch.ones(3, 2), torch.zeros(3, dtype=torch.long))
    geqlib.nn.GauntTensorProduct("1x0e", "1x0e", "1x0e", method="grid")(*torch.ones(2, 3, 1))
    geqlib.nn.GauntPower("1x0e", "1x0e", 2)(torch.ones(3, 1))
print(sorted(choices))
"""


@pytest.mark.slow
def test_everything_works_without_triton() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_TRITON],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    names = ("edge_product", "grid_product", "sphere_power", "symmetric_gru")
    assert done.stdout.strip() == str([(name, "no Triton") for name in names])


def test_reasons_for_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2)
    cases = {
        "device cpu": lambda: fused("f", x),
        "device meta": lambda: fused("f", x.to("meta")),
    }
    for reason, call in cases.items():
        with watch() as choices:
            assert not call()
        assert dict(choices) == {("f", reason): 1}
    monkeypatch.setattr(selection, "DEVICES", {"cpu"})

    class Subclass(torch.Tensor):
        pass

    cases = {
        "type torch.int64": lambda: fused("f", x.long()),
        "a Subclass": lambda: fused("f", x.as_subclass(Subclass)),
        "shape": lambda: fused("f", x, None, supported=False),
    }
    for reason, call in cases.items():
        with watch() as choices:
            assert not call()
        assert dict(choices) == {("f", reason): 1}


@pytest.mark.parametrize("name", ["edge_product", "grid_product", "sphere_power"])
def test_what_a_kernel_does_not_take(device: str, name: str) -> None:
    """Half precision, strides and no rows are as without it; integers never reach it."""
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    plan = directed_plan(edge_index, 3).ordered().to(device)
    product = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", "4x0e+4x1o", method="grid")
    power = GauntPower("4x0e+4x1o", "4x0e+4x1o", 2)
    product, power = product.to(device), power.to(device)
    operators = {
        "edge_product": lambda x: edge_product(x.view(-1, 2, 8), x.view(-1, 2, 8), plan),
        "grid_product": lambda x: product(x, x),
        "sphere_power": power,
    }
    operator, x = operators[name], torch.randn(3, 16, device=device)
    cases = [x.half(), x.T.contiguous().T]
    if name != "edge_product":  # whose plan says how many nodes there are
        cases.append(x[:0])
    for case in cases:
        with plain():
            expected = operator(case)
        torch.testing.assert_close(operator(case), expected, rtol=2e-2, atol=2e-2)
    with watch() as choices:
        try:
            operator(x.long())
        except ValueError as error:
            assert "torch.int64" in str(error)
    assert "fused" not in {reason for _, reason in choices}


def test_switched_off_while_any_context_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "DEVICES", {"cpu"})
    monkeypatch.setattr(selection, "_has_triton", lambda: True)
    x = torch.ones(2)
    assert fused("f", x)
    with plain():
        with plain():
            assert not fused("f", x)
        assert not fused("f", x)
    assert fused("f", x)
