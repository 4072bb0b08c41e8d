"""Groups that move no input are refused: an error of 0 would say nothing about a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.groups import act, elements, moves, parse_group
from geqlib.symmetry.types import parse_input
from geqlib.testing import assert_equivariant, equivariance_error, error_by_degree

NODES = {"batch": (torch.tensor([0, 0, 0, 1, 1]), "batch")}
EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 4]])
TENSORS: dict[str, Tensor] = {
    "scalar": torch.randn(5, 2, dtype=torch.float64),
    "index": torch.tensor([4, 2, 0, 1, 3]),
    "point": torch.randn(5, 3, dtype=torch.float64),
    "vector": torch.randn(5, 3, dtype=torch.float64),
    "graph:vector": torch.randn(2, 3, dtype=torch.float64),
    "graph:scalar": torch.randn(2, dtype=torch.float64),
    "edge_index": EDGES,
    "edge_scalar": torch.randn(4, dtype=torch.float64),
    "pair_index": EDGES,
    "2x0e": torch.randn(5, 2, dtype=torch.float64),
    "0e+0o": torch.randn(5, 2, dtype=torch.float64),
    "1e": torch.randn(5, 3, dtype=torch.float64),
}
GROUPS: dict[str, str | Tensor] = {
    **{name: name for name in ("S_n", "T(3)", "SO(3)", "O(3)", "E(3)", "R+(3)", "SAff(3)")},
    "icosahedral": rotation_group("icosahedral"),
    "inversion": torch.stack([torch.eye(3), -torch.eye(3)]).double(),
}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("text", TENSORS)
def test_moves_agrees_with_random_elements(text: str, name: str) -> None:
    group = parse_group(GROUPS[name])
    if group.stretches and text == "1e":
        pytest.skip("stretches do not act on irreps of a degree above 0")
    inputs = {k: parse_input(k, pair) for k, pair in NODES.items()}
    x, type_ = parse_input("x", (TENSORS[text], text))
    drawn = elements(group, inputs, {"node": 5, "edge": 4}, 20, torch.Generator().manual_seed(0))
    changed = any((act(x, type_, g).double() - x).abs().max() > 1e-9 for g in drawn)
    assert moves(group, type_) == changed


@pytest.mark.parametrize(
    ("text", "group", "message"),
    [
        ("scalar", "SO(3)", r"^SO\(3\) acts on no input of the function, whose inputs are: x "),
        ("vector", "T(3)", r"^T\(3\) acts on no input"),
        ("2x0e", "O(3)", r"^O\(3\) acts on no input"),
        ("0e+0o", "SE(3)", r"^SE\(3\) acts on no input"),
        ("1e", GROUPS["inversion"], "^the finite group of 2 matrices acts on no input"),
        ("scalar", "S_n x SE(3)", r"^SE\(3\), a factor of 'S_n x SE\(3\)', acts on no input"),
        ("vector", "SO(3) x T(3)", r"^T\(3\), a factor of 'SO\(3\) x T\(3\)', acts on no input"),
    ],
)
def test_a_group_that_moves_no_input_is_refused(
    text: str, group: str | Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        equivariance_error(lambda x: x, {"x": (TENSORS[text], text)}, text, group)


@pytest.mark.parametrize("measure", [equivariance_error, assert_equivariant, error_by_degree])
def test_every_measure_refuses(measure: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match=r"whose inputs are: x \(scalar\)\. Name a group that"):
        measure(lambda x: x, {"x": (TENSORS["scalar"], "scalar")}, "scalar", "SO(3)")


def test_batch_alone_is_no_input_of_relabelling() -> None:
    with pytest.raises(ValueError, match=r"^S_n acts on no input .* batch \(batch\)\."):
        equivariance_error(lambda batch: batch, NODES, "index", "S_n")


def test_inputs_that_happen_to_be_fixed_are_moved() -> None:
    """The type decides, so that a single point at the origin can be tested."""
    origin = {"pos": (torch.zeros(1, 3, dtype=torch.float64), "vector")}
    assert equivariance_error(lambda pos: pos, origin, "vector", "S_n x O(3)") == 0
