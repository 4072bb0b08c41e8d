"""The method that "auto" takes: a fixed table; and states of the first edition, which named one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from geqlib.gaunt.methods import AUTO, choose_method
from geqlib.nn import GauntTensorProduct

IRREPS = "2x0e+2x1o+2x2e"


def build(**options: Any) -> GauntTensorProduct:
    return GauntTensorProduct(IRREPS, IRREPS, IRREPS, **options)


@pytest.mark.parametrize("degree", [0, 2, 16, 17, 40])
def test_auto_is_the_table(degree: int) -> None:
    """By the highest degree of the three; a name goes first."""
    irreps = f"{degree}{'eo'[degree % 2]}"
    expected = next(method for top, method in AUTO if degree <= top)
    with torch.device("meta"):  # without tables of values
        layer = GauntTensorProduct("1x0e", irreps, irreps)
    assert layer.method == choose_method(degree) == expected
    assert build(method="fft").method == "fft" and "method='fft'" in repr(build(method="fft"))


def test_building_a_layer_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path))
    monkeypatch.setenv("GEQLIB_GAUNT_METHOD", "fft")  # of the first edition
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert build().method == "grid"
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("state", [torch.tensor(2, dtype=torch.uint8), torch.zeros(2)], ids=str)
def test_states_of_the_first_edition_load(state: torch.Tensor) -> None:
    """Each held its measured method, also as a part of another module."""
    layer, other = build(weights="degree"), build(weights="degree")
    old = layer.state_dict() | {"_extra_state": state}
    other.load_state_dict(old)
    x, y = torch.randn(2, 4, 18)
    assert torch.equal(other(x, y), layer(x, y)) and "_extra_state" not in other.state_dict()
    nested = torch.nn.Sequential(build(weights="degree"))
    nested.load_state_dict({f"0.{key}": value for key, value in old.items()})
    assert torch.equal(nested[0](x, y), layer(x, y))
