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


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=lambda composition: composition.case.name)
def test_training(composition: Composition) -> None:
    losses, module = fit(composition.case, 10)
    assert losses[-1] < losses[0]
    for name, parameter in module.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    parts = [part for part in module.modules() if isinstance(part, composition.kind)]
    assert parts
    for part in parts:
        assert any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


@pytest.mark.parametrize(
    "composition",
    [composition for composition in COMPOSITIONS if composition.kind is FrameAveraging],
    ids=lambda composition: composition.case.name,
)
def test_without_the_frame_the_symmetry_is_broken(composition: Composition) -> None:
    bare = composition.case.make().module
    fn = partial(bare, num_graphs=len(RAGGED))
    inputs = join(random_graphs(composition.case, RAGGED))
    group = "S_n" if composition.symmetry.startswith("S_n") else composition.case.groups[0]
    assert equivariance_error(fn, inputs, composition.case.outputs, group) > 1e-3
