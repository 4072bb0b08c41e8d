"""A calculator that pads and replays gives the energies and forces of one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet
from torch import Tensor

from geqlib.calculators import GeqCalculator
from geqlib.calculators import replayed as replaying
from geqlib.calculators.replayed import ReplayedForces
from geqlib.graph.recordings import CudaGraphs, Rerun
from geqlib.models import PONITA, GauntNet, Potential

pytestmark = pytest.mark.filterwarnings("ignore:cuda_graphs. cpu")
SMALL: dict[str, Any] = {"channels": 4, "layers": 1}


def potential(name: str, cutoff: float = 3.0) -> Potential:
    torch.manual_seed(0)
    if name == "gaunt":
        return Potential(GauntNet(["H", "C", "Cu"], cutoff=cutoff, **SMALL), zbl=True)
    return Potential(PONITA(4, 0, 1, 0, **SMALL, orientations=4, cutoff=cutoff))


def pair(name: str, **options: Any) -> tuple[GeqCalculator, GeqCalculator]:
    net = potential(name)
    plain = GeqCalculator(net, dtype=torch.float64, **options)
    return plain, GeqCalculator(net, dtype=torch.float64, cuda_graphs=True, **options)


def structures() -> list[Atoms]:
    """Molecules and crystals whose number of neighbours changes from one to the next."""
    draw = np.random.default_rng(0)
    frames = []
    for scale in (0.8, 1.0, 1.3, 1.0):
        frame = molecule("C6H6")
        frame.positions *= scale
        frames.append(frame)
    for scale in (0.9, 1.0):
        frame = bulk("Cu", cubic=True)
        frame.set_cell(frame.cell.array * scale, scale_atoms=True)
        frame.positions += 0.1 * draw.normal(size=frame.positions.shape)
        frames.append(frame)
    frames += [Atoms("H", [[0, 0, 0]]), molecule("CH4")]
    return frames


@pytest.mark.parametrize("name", ["gaunt", "ponita"])
def test_energies_and_forces_are_those_of_the_plain_calculator(name: str) -> None:
    """To 1e-12, while structures change their size and cross from one bucket to another."""
    plain, replayed = pair(name)
    for frame in (*structures(), *structures()):
        results = []
        for calculator in (plain, replayed):
            frame.calc = calculator
            stress = frame.get_stress() if frame.pbc.any() else np.zeros(6)
            results.append((frame.get_potential_energy(), frame.get_forces(), stress))
            results[-1] += (calculator.results["energies"],)
        for before, after in zip(*results, strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)
    compute: Any = replayed.compute
    assert isinstance(compute, ReplayedForces) and not compute.refused
    assert 4 <= len(compute.recordings) <= len(structures())


def test_dynamics_are_the_same() -> None:
    """A trajectory in which neighbours come and go, of fewer recordings than steps."""
    finals, sizes, recordings = [], set(), {}
    for calculator in pair("gaunt"):
        near: Any = calculator.near
        frame = molecule("C6H6")
        frame.calc = calculator
        frame.set_momenta(np.random.default_rng(1).normal(size=(12, 3)))
        run = VelocityVerlet(frame, units.fs)
        for _ in range(12):
            run.run(1)
            sizes.add(near(torch.tensor(frame.positions)).edge_index.size(1))
        finals.append(frame.positions)
        recordings = getattr(calculator.compute, "recordings", {})
    assert len(sizes) > len(recordings) >= 1
    np.testing.assert_allclose(finals[1], finals[0], atol=1e-10)


def test_the_least_recently_used_recording_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three sizes two stay: that which is used between the others is not recorded again."""
    monkeypatch.setattr(replaying, "RECORDINGS", 2)
    recorded = []

    class Counted(Rerun):
        def __call__(self, function: Any) -> Any:
            recorded.append(function)
            return super().__call__(function)

    plain, calculator = pair("gaunt")
    compute: Any = calculator.compute
    compute.recorder = Counted()
    small, often, large = Atoms("H", [[0, 0, 0]]), molecule("CH4"), molecule("C6H6")
    for frame, so_far in ((often, 1), (small, 2), (often, 2), (large, 3), (often, 3), (small, 4)):
        energies = []
        for each in (plain, calculator):
            each.reset()
            frame.calc = each
            energies.append(frame.get_potential_energy())
        assert energies[1] == pytest.approx(energies[0], abs=1e-12)
        assert len(recorded) == so_far and len(compute.recordings) == min(2, so_far)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("most", [64, 2])
@pytest.mark.parametrize("name", ["gaunt", "ponita"])
def test_cuda_graphs_give_the_same(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded graphs of several sizes, replayed with other positions; dropped ones, too."""
    monkeypatch.setattr(replaying, "RECORDINGS", most)
    plain, calculator = pair(name, device="cuda")
    draw = np.random.default_rng(0)
    for frame in (*structures(), *structures()):
        frame.positions += 0.02 * draw.normal(size=frame.positions.shape)
        results = []
        for each in (plain, calculator):
            frame.calc = each
            results.append((frame.get_potential_energy(), frame.get_forces()))
        for before, after in zip(*results, strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
    compute: Any = calculator.compute
    assert isinstance(compute.recorder, CudaGraphs) and not compute.refused
    assert 2 <= len(compute.recordings) <= most


class Crowd(torch.nn.Module):
    """A network in which every atom sees all others of the batch."""

    in_scalars, cutoff = 0, 3.0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, pos: Tensor) -> Tensor:
        return self.weight * (pos - pos.mean(0)).square().sum(1, keepdim=True)


def test_what_padding_changes_is_computed_plainly() -> None:
    """With one sentence, and the plain result."""
    frame = molecule("CH4")
    frame.calc = GeqCalculator(Potential(Crowd()), dtype=torch.float64)
    energy = frame.get_potential_energy()
    frame.calc = GeqCalculator(Potential(Crowd()), dtype=torch.float64, cuda_graphs=True)
    with pytest.warns(UserWarning, match="Crowd is computed without replay, because padding"):
        assert frame.get_potential_energy() == energy


def test_polarisabilities_are_replayed_too() -> None:
    torch.manual_seed(0)
    network = GauntNet(["H", "C"], **SMALL, cutoff=3.0, irreps_out="2x0e+1x2e")
    net = Potential(network, polarisability=True)
    values = []
    for replayed in (False, True, True):  # recorded, and then replayed
        calculator = GeqCalculator(net, dtype=torch.float64, cuda_graphs=replayed)
        for _ in range(2):
            calculator.reset()
            values.append(calculator.get_property("polarizability", molecule("CH4")))
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-12, atol=1e-12)


def test_elements_are_still_checked() -> None:
    """Those of a structure that comes later, too."""
    net = potential("ponita")
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6]] = True
    net.statistics.set(torch.zeros(119), seen, 1.0, 0.0)
    calculator = GeqCalculator(net, dtype=torch.float64, cuda_graphs=True)
    frame = molecule("CH4")
    frame.calc = calculator
    frame.get_forces()
    other = bulk("Cu")
    other.calc = calculator
    with pytest.raises(ValueError, match="Cu, which the training data never showed"):
        other.get_forces()


def test_it_says_what_a_cpu_does() -> None:
    with pytest.warns(UserWarning, match="cuda_graphs: cpu has no CUDA graphs, so that structures"):
        GeqCalculator(potential("ponita"), cuda_graphs=True)
