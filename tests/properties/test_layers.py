"""Every layer and model on generated graphs: no NaN, no error, symmetric within rounding.

All of them on 10 000 graphs each: `python benchmarks/properties.py`.
"""

from __future__ import annotations

import pytest
from torch import nn

import geqlib.models
import geqlib.nn
from tests.contract import Case
from tests.properties.cases import all_cases
from tests.properties.measure import wrong_with

CASES = all_cases()
GRAPHS = 128  # of its own for each case
NOT_EQUIVARIANT = {"DirectPotential"}  # its forces; its network is a case


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "name"), list(enumerate(CASES)), ids=str)
def test_generated_graphs(seed: int, name: str) -> None:
    assert not wrong_with(name, CASES[name], GRAPHS, seed)


def test_they_are_ten_thousand() -> None:
    assert GRAPHS * len(CASES) >= 10_000


def test_no_layer_and_no_model_is_left_out() -> None:
    met = {type(part) for case in CASES.values() for part in case.make().modules()}
    for package in (geqlib.nn, geqlib.models):
        public = {name: getattr(package, name) for name in package.__all__}
        modules = {n: c for n, c in public.items() if isinstance(c, type)}
        modules = {n: c for n, c in modules.items() if issubclass(c, nn.Module)}
        lacking = [n for n, cls in modules.items() if cls not in met and n not in NOT_EQUIVARIANT]
        assert not lacking, f"no case has {', '.join(lacking)}"


class Broken(nn.Module):
    """Not finite where points coincide, and not symmetric where they do not."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, pos):
        length = (pos - pos.roll(1, 0)).norm(dim=1)
        return length**self.power


@pytest.mark.parametrize(
    ("power", "said"), [(-1, "is not finite in torch.float64"), (1, "under S_n")]
)
def test_the_test_finds_faults(power: int, said: str) -> None:
    case = Case("broken", lambda: Broken(power), lambda pos, *_: {"pos": (pos, "point")}, "scalar")
    assert said in wrong_with("broken", case, 20, 0)
