"""Molecular dynamics that can be stopped and continued without a difference."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.io.trajectory import TrajectoryReader, TrajectoryWriter
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.velocitydistribution import Stationary, ZeroRotation

from geqlib.calculators.made_with import check_record, structure_digest
from geqlib.files.atomic import replace_file

Ensemble = Literal["nve", "nvt", "npt"]
BAROSTAT = "barostat"  # momentum of the cell and the force on it, in the info of a frame


@dataclass(frozen=True)
class Dynamics:
    """Settings of molecular dynamics.

    Steps are those of the BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102):
    of velocity Verlet for "nve", with Langevin's friction and noise for "nvt", and with a cell that
    keeps its shape and follows a pressure (Quigley and Probert, J. Chem. Phys. 120, 11432) for
    "npt". Random numbers depend on `seed` and on the frame that is computed, and on nothing before.

    Args:
        ensemble: "nve", "nvt" or "npt".
        temperature: in kelvin; of the first velocities, where the structure has none, and of the
            thermostat.
        pressure: in GPa, for "npt".
        timestep: in femtoseconds.
        every: steps between frames.
        thermostat, barostat: time constants in femtoseconds.
        seed: of all random numbers.

    Raises:
        ValueError: if a setting is out of its range.

    Example:
        >>> Dynamics("nvt", temperature=300.0).timestep
        0.5
    """

    ensemble: Ensemble = "nve"
    temperature: float = 300.0
    pressure: float = 0.0
    timestep: float = 0.5
    every: int = 10
    thermostat: float = 100.0
    barostat: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ensemble not in ("nve", "nvt", "npt"):
            raise ValueError(f'ensemble must be "nve", "nvt" or "npt", got {self.ensemble!r}.')
        for name in ("temperature", "timestep", "every", "thermostat", "barostat"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive, got {value}.")
        if self.pressure and self.ensemble != "npt":
            raise ValueError(f'pressure={self.pressure} needs ensemble="npt".')
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")
        if not math.isfinite(self.pressure):
            raise ValueError(f"pressure must be a number, got {self.pressure}.")


class Summary(NamedTuple):
    """Averages of a trajectory, and the speed of the run.

    Args:
        steps: of the whole trajectory.
        per_second: steps a second, of those that were computed now.
        temperature: in kelvin, mean over the frames.
        drift: of the total energy, in meV per atom and picosecond, by least squares.
        fluctuation: of the total energy about that line, in meV per atom.
        volume: in cubic angstrom, mean over the frames; None without a cell.

    Example:
        >>> Summary(100, 20.0, 300.0, 0.0, 0.0, None).steps
        100
    """

    steps: int
    per_second: float
    temperature: float
    drift: float
    fluctuation: float
    volume: float | None


def simulate(
    atoms: Atoms,
    path: str | Path,
    settings: Dynamics,
    steps: int,
    *,
    made_with: Mapping[str, str] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    after_frame: Callable[[], None] | None = None,
) -> Summary:
    """Run dynamics up to a number of steps, and write every so many to an ASE trajectory.

    Where the trajectory has frames, the dynamics go on from the last one: with the same calculator
    they give the same frames as without a stop, also after one that cut off a frame. Over an empty
    file, which a stop before the first frame leaves, they begin anew.

    Args:
        atoms: with a calculator. Velocities are drawn where it has none.
        path: of the trajectory, .traj. A file of the same name with .json after it holds settings.
        settings: of the dynamics.
        steps: of the whole trajectory, a multiple of `settings.every`.
        made_with: what else must be the same to continue, such as a digest of the model.
        progress: around the frames to compute, for a progress bar.
        after_frame: called at the frame where they begin and after each, such as an
            `ExtrapolationAlarm`.

    Raises:
        ValueError: if the trajectory was made with other settings or of another structure, the
            structure is not periodic where its volume shall follow a pressure, or the energy
            becomes infinite or not a number.
    """
    path = Path(path)
    if path.suffix != ".traj":
        raise ValueError(f"{path} must end in .traj, ASE's format, which keeps all digits.")
    if steps < settings.every or steps % settings.every:
        raise ValueError(
            f"steps must be a positive multiple of the {settings.every} steps between frames, got "
            f"{steps}: change steps, or every."
        )
    if settings.ensemble == "npt" and not (atoms.cell.rank == 3 and atoms.pbc.all()):
        raise ValueError(
            f"Constant pressure needs a structure that is periodic along three vectors, and "
            f"{atoms.get_chemical_formula()} is not: set its cell and pbc, or take nve or nvt."
        )
    if path.is_file() and not path.stat().st_size:
        warnings.warn(
            f"{path} is empty, as after a stop before the first frame: the dynamics begin anew.",
            stacklevel=2,
        )
        path.unlink()
    own = asdict(settings) | dict(made_with or {}) | {"structure": structure_digest([atoms])}
    check_record(path, own)
    count, last = _whole_frames(path)
    _place(atoms, last, settings)
    begun, computed = time.perf_counter(), 0
    integrator = _integrator(atoms, settings, last)
    with TrajectoryWriter(str(path), "a" if count else "w", atoms) as trajectory:
        if not count:
            _write(trajectory, atoms, integrator)
        if after_frame is not None:
            after_frame()
        for frame in progress(range(max(count - 1, 0), steps // settings.every)):
            integrator.rng = np.random.default_rng([settings.seed, frame])
            integrator.run(settings.every)
            if not np.isfinite(atoms.get_total_energy()):
                raise ValueError(
                    f"The energy is not finite any more before step "
                    f"{(frame + 1) * settings.every}: look at the frames of {path}, and begin a "
                    "new file with a smaller timestep or another structure."
                )
            _write(trajectory, atoms, integrator)
            computed += settings.every
            if after_frame is not None:
                after_frame()
    seconds = time.perf_counter() - begun
    return summarise(path, settings, computed / seconds if computed else 0.0)


def summarise(path: str | Path, settings: Dynamics, per_second: float = 0.0) -> Summary:
    """The `Summary` of a trajectory."""
    with TrajectoryReader(str(path)) as trajectory:
        frames: Any = trajectory
        values = np.array(
            [(a.get_total_energy() / len(a), a.get_temperature(), a.cell.volume) for a in frames]
        )
    count = len(values)
    time_ps = np.arange(count) * settings.every * settings.timestep / 1000
    energies = 1000 * (values[:, 0] - values[0, 0])
    slope, offset = np.polyfit(time_ps, energies, 1) if count > 2 else (0.0, energies[0])
    rest = energies - slope * time_ps - offset
    volume = float(values[:, 2].mean())
    return Summary(
        (count - 1) * settings.every,
        per_second,
        float(values[:, 1].mean()),
        float(slope),
        float(rest.std()),
        volume or None,
    )


def _whole_frames(path: Path) -> tuple[int, Atoms | None]:
    """Number of frames, and the last one; a frame that was cut off is removed."""
    if not path.exists():
        return 0, None
    try:
        with TrajectoryReader(str(path)) as trajectory:
            count = len(trajectory)
            if count == 0:
                return 0, None
            try:
                last: Any = trajectory[-1]
            except Exception:  # ASE's reader raises all kinds of errors for half a frame
                whole: Any = [trajectory[k] for k in range(count - 1)]
                replace_file(path, lambda part: _rewrite(part, whole))
                count, last = len(whole), whole[-1] if whole else None
    except Exception as error:
        raise ValueError(
            f"{path} is no trajectory, or damaged: not even its first frame is whole ({error}). "
            "Delete it to begin again, or name another file."
        ) from error
    return count, last


def _rewrite(path: Path, frames: Sequence[Atoms]) -> None:
    with TrajectoryWriter(str(path), "w") as trajectory:
        for atoms in frames:
            trajectory.write(atoms)


def _place(atoms: Atoms, last: Atoms | None, settings: Dynamics) -> None:
    """Restore the atoms of the last frame, or draw velocities if there are none."""
    if last is not None:
        atoms.set_cell(last.cell, scale_atoms=False)
        atoms.set_positions(last.get_positions())
        atoms.set_momenta(last.get_momenta())
    elif not np.any(atoms.get_momenta()):
        rng = np.random.default_rng([settings.seed])
        width = np.sqrt(units.kB * settings.temperature * atoms.get_masses())
        atoms.set_momenta(width[:, None] * rng.standard_normal((len(atoms), 3)))
        if len(atoms) > 1:  # one atom would be left without any
            Stationary(atoms)
            if not atoms.pbc.any():
                ZeroRotation(atoms)


def _integrator(atoms: Atoms, settings: Dynamics, last: Atoms | None) -> LangevinBAOAB:
    options: dict[str, Any] = {}
    if settings.ensemble != "nve":
        options |= {"temperature_K": settings.temperature, "rng": np.random.default_rng(0)}
        options["T_tau"] = settings.thermostat * units.fs
    if settings.ensemble == "npt":
        options |= {"externalstress": -settings.pressure * units.GPa, "hydrostatic": True}
        options |= {
            "P_tau": settings.barostat * units.fs,
            "P_mass": _barostat_mass(atoms, settings),
        }
    integrator = LangevinBAOAB(atoms, settings.timestep * units.fs, **options)
    if last is not None and BAROSTAT in last.info:
        # the force, too: it is one of the velocities before the last half step
        integrator.p_eps, integrator.force_eps = (float(x) for x in last.info[BAROSTAT])
    return integrator


def _barostat_mass(atoms: Atoms, settings: Dynamics) -> float:
    """Of Martyna, Tobias and Klein (J. Chem. Phys. 101, 4177): (3 N + 3) k T tau^2."""
    energy = units.kB * settings.temperature
    return (3 * len(atoms) + 3) * energy * (settings.barostat * units.fs / (2 * math.pi)) ** 2


def _write(trajectory: Any, atoms: Atoms, integrator: LangevinBAOAB) -> None:
    if integrator.externalstress is not None:
        atoms.info[BAROSTAT] = [float(integrator.p_eps), float(integrator.force_eps)]
    trajectory.write(atoms)
