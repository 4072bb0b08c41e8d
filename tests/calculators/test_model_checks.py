"""Forms of a network against its plain one: stress too, refusals apart from failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from torch import Tensor, nn

from geqlib.calculators import model_checks
from geqlib.calculators.ase import GeqCalculator
from geqlib.calculators.checks import displaced_at_random
from geqlib.calculators.model_checks import compared, compiled, exported, single
from geqlib.calculators.subject import Subject
from geqlib.models import GauntNet, Potential
from tests.calculators import wrong
from tests.calculators.test_checks import crystal


class Square(torch.autograd.Function):
    """A layer of one's own, whose second derivatives torch would drop."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad * ctx.saved_tensors[0]


class Squares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pos: Tensor) -> Tensor:
        return self.weight * Square.apply(pos)[:, :1]


def network() -> GauntNet:
    return GauntNet(["Ar"], channels=1, degree=0, order=1, layers=1, cutoff=4.0)


@pytest.fixture
def eager() -> GeqCalculator:
    torch.manual_seed(0)
    return GeqCalculator(Potential(network()), dtype=torch.float64)


@pytest.fixture
def subjects(eager: GeqCalculator) -> list[Subject]:
    return [Subject(eager, displaced_at_random(Atoms("Ar2", [[0, 0, 0], [2, 0, 0]]), 0), 4.0)]


def test_the_stress_is_compared() -> None:
    subject = [Subject(wrong.Pairs(), displaced_at_random(crystal(), 0))]
    assert compared("a", subject, wrong.Pairs(), 1e-9, "").passed
    for mistake in (wrong.StressSign, wrong.StressShear, wrong.ForcesOff):
        assert compared("a", subject, mistake(), 1e-9, "").passed is False
    molecule = [Subject(wrong.Pairs(), Atoms("Ar2", [[0, 0, 0], [2, 0, 0]]))]
    assert compared("a", molecule, wrong.StressSign(), 1e-9, "").passed, "it has no stress"


@pytest.mark.parametrize("failure", [RuntimeError("illegal access"), ValueError("wrong shape")])
def test_forms_that_crash_fail(
    failure: Exception, eager: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise failure

    class Crashing(wrong.Pairs):
        sums = crash

    monkeypatch.setattr(model_checks, "compiled_energy_forces", lambda *_, **__: crash)
    compiled_row = compiled(subjects, eager, "eager")
    monkeypatch.setattr(model_checks, "export_program", lambda *_, **__: None)
    monkeypatch.setattr(model_checks, "GeqCalculator", lambda *_, **__: Crashing())
    for row in (compiled_row, exported(subjects, eager), single(subjects, eager)):
        assert row.passed is False and str(failure) in row.reason


def test_forms_that_cannot_be_built_fail(
    eager: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(model_checks, "export_program", fails)
    row = exported(subjects, eager)
    assert row.passed is False and "RuntimeError: no memory" in row.reason


def test_forms_that_are_refused_do_not_apply(
    eager: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Path:
        raise ValueError("Programs take no charge: use the format geqlib.")

    monkeypatch.setattr(model_checks, "export_program", refused)
    row = exported(subjects, eager)
    assert row.passed is None and row.tested and "take no charge" in row.reason


# raised by dynamo itself wherever it meets an autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_layers_that_torch_compiles_wrongly_are_refused() -> None:
    """By the backend, when the compiled forces are first called."""
    torch.compiler.reset()
    calculator = GeqCalculator(Potential(Squares()), dtype=torch.float64)
    atoms = displaced_at_random(Atoms("Ar2", [[0, 0, 0], [2, 0, 0]]), 0)
    row = compiled([Subject(calculator, atoms)], calculator, "aot_eager")
    assert row.passed is None and row.tested and "torch.autograd.Function" in row.reason
