"""Which form of an operator runs, and that nothing needs Triton."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from geqlib.kernels import plain, selection, watch
from geqlib.kernels.selection import fused

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
