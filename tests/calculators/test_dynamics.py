"""Dynamics and relaxation: exact resumption, ensembles, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read
from ase.io.trajectory import TrajectoryReader
from ase.md.verlet import VelocityVerlet

from geqlib.calculators import relaxation
from geqlib.calculators.dynamics import Dynamics, simulate
from geqlib.calculators.relaxation import relax, relax_all
from geqlib.cli.relax import _show

SETTINGS = {
    name: Dynamics(name, temperature=400.0, timestep=2.0, every=5, seed=3)  # type: ignore[arg-type]
    for name in ("nve", "nvt", "npt")
}


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    return atoms


def frames(path: Path) -> list[Atoms]:
    with TrajectoryReader(str(path)) as trajectory:
        return [trajectory[k] for k in range(len(trajectory))]  # type: ignore[misc]


@pytest.mark.parametrize("ensemble", SETTINGS)
def test_what_was_stopped_and_cut_off_goes_on_as_if_it_had_not(
    ensemble: str, tmp_path: Path
) -> None:
    settings = SETTINGS[ensemble]
    whole, parts = tmp_path / "whole.traj", tmp_path / "parts.traj"
    summary = simulate(copper(), whole, settings, 60)
    simulate(copper(), parts, settings, 30)
    content = parts.read_bytes()
    parts.write_bytes(content[:-50])  # half of the last frame
    again = simulate(copper(), parts, settings, 60)
    assert summary.steps == again.steps == 60
    one, other = frames(whole), frames(parts)
    assert len(one) == len(other) == 13
    for a, b in zip(one, other, strict=True):
        # the calculator's neighbour lists differ in their order, hence rounding
        assert np.allclose(a.positions, b.positions, rtol=0, atol=1e-12)
        assert np.allclose(a.get_momenta(), b.get_momenta(), rtol=0, atol=1e-11)
        assert np.allclose(a.cell, b.cell, rtol=0, atol=1e-12)
    assert simulate(copper(), parts, settings, 60).per_second == 0


def test_constant_energy_is_velocity_verlet(tmp_path: Path) -> None:
    simulate(copper(), tmp_path / "a.traj", SETTINGS["nve"], 20)
    first, *_, last = frames(tmp_path / "a.traj")
    atoms = copper()
    atoms.set_positions(first.positions)
    atoms.set_momenta(first.get_momenta())
    VelocityVerlet(atoms, 2.0 * units.fs).run(20)
    assert np.allclose(atoms.positions, last.positions, rtol=0, atol=1e-10)


def test_the_summary(tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    summary = simulate(copper(), path, SETTINGS["nve"], 50)
    atoms = frames(path)
    energies = np.array([a.get_total_energy() / 4 for a in atoms])
    times = 0.01 * np.arange(11)  # picoseconds
    slope = np.sum((times - times.mean()) * energies) / np.sum((times - times.mean()) ** 2)
    rest = energies - energies.mean() - slope * (times - times.mean())
    assert summary.drift == pytest.approx(1000 * slope, rel=1e-6)
    assert summary.fluctuation == pytest.approx(1000 * rest.std(), rel=1e-6)
    assert summary.temperature == pytest.approx(
        np.mean([float(a.get_temperature()) for a in atoms])
    )
    assert summary.volume == pytest.approx(atoms[0].cell.volume)


def test_velocities_of_the_structure_are_kept_and_others_are_drawn(tmp_path: Path) -> None:
    own = copper()
    own.set_momenta(np.ones((4, 3)))
    simulate(own, tmp_path / "own.traj", SETTINGS["nve"], 5)
    assert np.allclose(frames(tmp_path / "own.traj")[0].get_momenta(), 1)
    drawn = molecule("CH3CH2OH")
    drawn.calc = EMT()
    simulate(drawn, tmp_path / "drawn.traj", SETTINGS["nvt"], 5)
    start = frames(tmp_path / "drawn.traj")[0]
    assert start.get_temperature() > 100
    assert np.abs(start.get_momenta().sum(0)).max() < 1e-9
    assert np.abs(start.get_angular_momentum()).max() < 1e-9


@pytest.mark.slow
def test_the_thermostat_and_the_barostat_hold_their_values(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    settings = Dynamics("npt", temperature=300.0, pressure=5.0, timestep=5.0, thermostat=50.0)
    summary = simulate(atoms, tmp_path / "npt.traj", settings, 400)
    later = frames(tmp_path / "npt.traj")[20:]
    temperature = float(np.mean([float(a.get_temperature()) for a in later]))
    # 96 degrees of freedom: 14 % in one frame, a third of that in the mean over 2 ps
    assert temperature == pytest.approx(300, rel=0.15)
    pressures = [-np.trace(a.get_stress(voigt=False, include_ideal_gas=True)) / 3 for a in later]
    assert float(np.mean(pressures)) / units.GPa == pytest.approx(5, abs=2)
    assert summary.volume is not None and summary.volume < 0.99 * 8 * 46.7


def test_what_dynamics_refuse(tmp_path: Path) -> None:
    path, settings = tmp_path / "a.traj", SETTINGS["nve"]
    simulate(copper(), path, settings, 10)
    other = bulk("Cu", cubic=True)
    other.symbols[0] = "Ag"
    other.calc = EMT()
    calls: list[tuple[str, Any]] = [
        ("was made with something else .*temperature", (copper(), path, Dynamics(every=5), 10)),
        ("was made with something else .*structure", (other, path, settings, 10)),
        ("must end in", (copper(), tmp_path / "a.xyz", settings, 10)),
        ("a positive multiple of the 5", (copper(), path, settings, 12)),
        ("a positive multiple of the 5", (copper(), path, settings, 0)),
    ]
    gas = molecule("H2O")
    gas.calc = EMT()
    boxed, slab = gas.copy(), copper()
    boxed.set_cell([9, 9, 9])
    boxed.calc, slab.pbc = EMT(), (True, True, False)
    for atoms in (gas, boxed, slab):
        refused = (atoms, tmp_path / "b.traj", SETTINGS["npt"], 10)
        calls.append(("periodic along three vectors, and .*: set its cell and pbc", refused))
    for sentence, arguments in calls:
        with pytest.raises(ValueError, match=sentence):
            simulate(*arguments)
    moved = copper()
    moved.positions[0] += 0.3
    with pytest.raises(ValueError, match=r"was made with something else .*structure"):
        simulate(moved, path, settings, 20)
    with pytest.raises(ValueError, match="model was None and is b"):
        simulate(copper(), path, settings, 20, made_with={"model": "b"})
    whole = path.read_bytes()
    for content in (b"no trajectory", whole[:100]):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"damaged: not even its first frame is whole.*Delete it"
        ):
            simulate(copper(), path, settings, 10)
    path.unlink()
    assert simulate(copper(), path, settings, 10).steps == 10
    path.with_name("a.traj.json").unlink()
    with pytest.raises(ValueError, match=r"has no record a\.traj\.json .*name another file"):
        simulate(copper(), path, settings, 10)
    for options in (
        {"ensemble": "nph"},
        {"temperature": 0.0},
        {"every": 0},
        {"pressure": 1.0},
        {"timestep": float("nan")},
    ):
        with pytest.raises(ValueError, match=r"must be|needs"):
            Dynamics(**options)  # type: ignore[arg-type]


def test_dynamics_begin_anew_over_an_empty_file(tmp_path: Path) -> None:
    """Which a stop before the first frame leaves, whatever its settings were."""
    path = tmp_path / "a.traj"
    for record in (None, '{"structure": "another"}'):
        path.write_bytes(b"")
        if record is not None:
            path.with_name("a.traj.json").write_text(record)
        with pytest.warns(
            UserWarning, match=r"a\.traj is empty, as .*: the dynamics begin anew\.$"
        ):
            simulate(copper(), path, SETTINGS["nve"], 10)
        assert len(frames(path)) == 3
        assert simulate(copper(), path, SETTINGS["nve"], 15).steps == 15


class Diverging(EMT):
    """Gives no number after eleven evaluations."""

    evaluations = 0

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.evaluations += 1
        if self.evaluations > 11:
            self.results["energy"] = np.nan


def test_dynamics_end_where_the_energy_is_no_number(tmp_path: Path) -> None:
    atoms, path = copper(), tmp_path / "a.traj"
    atoms.calc = Diverging()
    with pytest.raises(ValueError, match=r"not finite any more before step 15: .*smaller timestep"):
        simulate(atoms, path, SETTINGS["nve"], 60)
    assert len(frames(path)) == 3


def two_of(numbers: Iterable[int]) -> Iterator[int]:
    for number in numbers:
        if number == 2:
            raise KeyboardInterrupt
        yield number


@pytest.mark.slow
def test_relaxation_finds_the_minimum_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.xyz"
    structures = [copper() for _ in range(3)]
    for k, atoms in enumerate(structures):
        atoms.set_cell(atoms.cell.array * (1.0 + 0.01 * k), scale_atoms=True)
        atoms.calc = None
    with pytest.raises(KeyboardInterrupt):
        relax_all(structures, EMT(), path, cell=True, limit=0.01, progress=two_of)
    results = relax_all(structures, EMT(), path, cell=True, limit=0.01)
    assert [result.steps > 0 for result in results] == [False, False, True]
    ideal = bulk("Cu", cubic=True)
    ideal.calc = EMT()
    relax(ideal, cell=True, limit=0.01)
    written: Any = read(path, ":")
    for result, atoms in zip(results, written, strict=True):
        assert result.converged and result.force < 0.01 and atoms.info["relaxation_steps"] > 0
        assert atoms.cell.volume == pytest.approx(ideal.cell.volume, rel=5e-3)
        assert atoms.get_potential_energy() == pytest.approx(ideal.get_potential_energy(), abs=1e-3)
    for again, options in (
        ([molecule("H2O")], {"cell": True, "limit": 0.01}),
        (structures, {"cell": True, "limit": 0.001}),
        (structures, {"limit": 0.01}),
    ):
        with pytest.raises(ValueError, match=r"was made with something else|cannot change"):
            relax_all(again, EMT(), path, **options)
    with pytest.raises(ValueError, match="model was None and is b"):
        relax_all(structures, EMT(), path, cell=True, limit=0.01, made_with={"model": "b"})
    whole = path.read_text()
    for cut in (0, 40, len(whole) - 3):
        path.write_text(whole[:cut])
        with pytest.raises(ValueError, match=r"is cut off.*delete it to relax all again"):
            relax_all(structures, EMT(), path, cell=True, limit=0.01)


def test_one_atom_and_the_first_frame(tmp_path: Path) -> None:
    for ensemble in ("nve", "nvt"):
        alone = Atoms("Cu", cell=[8, 8, 8], pbc=True)
        alone.calc = EMT()
        simulate(alone, tmp_path / f"{ensemble}.traj", SETTINGS[ensemble], 10)
        assert np.isfinite(frames(tmp_path / f"{ensemble}.traj")[-1].positions).all()

    def alarm() -> None:
        raise ValueError("uncertain")

    for _ in range(2):  # the same command does not walk past it
        with pytest.raises(ValueError, match="uncertain"):
            simulate(copper(), tmp_path / "a.traj", SETTINGS["nve"], 10, after_frame=alarm)
    assert len(frames(tmp_path / "a.traj")) == 1


def test_a_structure_that_cannot_be_relaxed_is_named(tmp_path: Path) -> None:
    class OnlyCopper(EMT):
        def calculate(self, atoms=None, *arguments, **options):
            if "Fe" in (atoms or self.atoms).get_chemical_symbols():
                raise ValueError("atom 0 is Fe")
            super().calculate(atoms, *arguments, **options)

    with pytest.raises(ValueError, match=r"^Structure 1: atom 0 is Fe"):
        relax_all([copper(), bulk("Fe")], OnlyCopper(), tmp_path / "r.xyz", steps=1)
    assert len(read(tmp_path / "r.xyz", ":")) == 1
    with pytest.raises(ValueError, match=r"^A pressure acts on the cell"):
        relax_all([copper()], EMT(), tmp_path / "s.xyz", pressure=1.0)


def test_what_relaxation_refuses() -> None:
    gas = molecule("H2O")
    gas.calc = EMT()
    for options, sentence in (
        ({"limit": 0.0}, "must be positive"),
        ({"pressure": 1.0}, "A pressure acts on the cell"),
        ({"cell": True}, "cannot change"),
    ):
        with pytest.raises(ValueError, match=sentence):
            relax(gas, **options)  # type: ignore[arg-type]
    assert not relax(gas, steps=1, limit=1e-6).converged
    gas.set_cell([9, 9, 9])
    with pytest.raises(ValueError, match="cannot change: it is not periodic"):
        relax(gas, cell=True)


def test_writing_takes_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that relaxing and writing move by a second each; nothing is lost at the end."""
    clock, sizes = [0.0], []

    def write(path: Path, results: Sequence[Any]) -> None:
        clock[0] += 1.0
        sizes.append(len(results))
        written(path, results)

    def relaxed(atoms: Atoms, **options: Any) -> relaxation.Relaxed:
        clock[0] += 1.0
        if clock[0] > 50:
            raise KeyboardInterrupt
        return relax(atoms, **options)

    written = relaxation._write
    monkeypatch.setattr(relaxation, "monotonic", lambda: clock[0])
    monkeypatch.setattr(relaxation, "_write", write)
    monkeypatch.setattr(relaxation, "relax", relaxed)
    with pytest.raises(KeyboardInterrupt):
        relax_all([copper()] * 60, EMT(), tmp_path / "r.xyz", steps=1)
    assert sizes == [1, 21, 41, 47]
    assert len(read(tmp_path / "r.xyz", ":")) == 47


def test_a_long_table_has_first_what_did_not_converge(capsys: pytest.CaptureFixture[str]) -> None:
    atoms = copper()
    atoms.info["relaxation_steps"] = 7
    results = [relaxation.Relaxed(atoms, 7, 0.1, number != 22) for number in range(23)]
    _show(results)
    out = capsys.readouterr().out
    assert "and 3 more, of which 0 did not converge" in out
    assert [line.split()[1] for line in out.splitlines() if " no " in line] == ["22"]
