"""Parts of the library work inside each other: contract, training, and what the part adds."""

from __future__ import annotations

from functools import partial

import pytest

from geqlib.nn import FrameAveraging
from geqlib.testing import equivariance_error
from tests.compositions import COMPOSITIONS, Composition, fit
from tests.contract import RAGGED, Contract, join, random_graphs

pytestmark = pytest.mark.slow


class TestContract(Contract):
    cases = tuple(composition.case for composition in COMPOSITIONS)


@pytest.mark.parametrize("given", COMPOSITIONS, ids=lambda given: given.case.name)
def test_training(given: Composition) -> None:
    losses, module = fit(given.case, 10)
    assert losses[-1] < losses[0]
    for name, parameter in module.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    parts = [part for part in module.modules() if isinstance(part, given.kind)]
    assert parts
    for part in parts:
        assert any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


@pytest.mark.parametrize(
    "given",
    [given for given in COMPOSITIONS if given.kind is FrameAveraging],
    ids=lambda given: given.case.name,
)
def test_without_the_frame_the_symmetry_is_broken(given: Composition) -> None:
    bare = given.case.make().module
    fn = partial(bare, num_graphs=len(RAGGED))
    inputs = join(random_graphs(given.case, RAGGED))
    group = "S_n" if given.symmetry.startswith("S_n") else given.case.groups[0]
    assert equivariance_error(fn, inputs, given.case.outputs, group) > 1e-3
