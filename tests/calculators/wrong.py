"""Smooth pair energies with one deliberate mistake each, for the checks to find; and right ones,
of kinds that checks once took for wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

Array = np.ndarray


class Pairs(Calculator):
    """E = sum over pairs and their images of (1 - r/c)^4 (1/r - 0.6) below the cutoff c: right."""

    implemented_properties = ("energy", "forces", "stress")
    cutoff = 3.2

    def pair(self, r: Array) -> tuple[Array, Array]:
        """u and du/dr."""
        x = 1 - r / self.cutoff
        return x**4 * (1 / r - 0.6), -4 / self.cutoff * x**3 * (1 / r - 0.6) - x**4 / r**2

    def positions(self, atoms: Atoms) -> Array:
        return atoms.get_positions(wrap=True)

    def offsets(self, atoms: Atoms) -> Array:
        """[N, N, C, 3] from each atom to all others and their images."""
        reach = 1 + np.ceil(self.cutoff * atoms.cell.reciprocal().lengths()).astype(int)
        axes = [np.arange(-n, n + 1) if p else [0] for n, p in zip(reach, atoms.pbc, strict=True)]
        cells = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        pos = self.positions(atoms)
        return pos[None, :, None] + cells @ atoms.cell.array - pos[:, None, None]

    def weights(self, atoms: Atoms) -> Array:
        return np.ones(len(atoms))

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        offset, weight = self.offsets(atoms), self.weights(atoms)
        r = np.linalg.norm(offset, axis=-1)
        i, j, c = np.nonzero((r > 1e-9) & (r < self.cutoff))
        offset, r, weight = offset[i, j, c], r[i, j, c], weight[i] * weight[j]
        u, slope = self.pair(r)
        pull = (weight * slope / r)[:, None] * offset
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, pull)
        results: dict[str, Any] = {"energy": (weight * u).sum() / 2, "forces": forces}
        if atoms.pbc.all():
            results["stress"] = offset.T @ pull / 2 / atoms.get_volume()
        return results

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = self.sums(self.atoms)


class ForcesOff(Pairs):
    """Forces 2 % too large."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return results | {"forces": 1.02 * results["forces"]}


class OneForceOff(Pairs):
    """One component of one atom is 2 % of the largest force too large."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        results["forces"][-1, 1] += 0.02 * np.abs(results["forces"]).max() * (len(atoms) == 4)
        return results


class StressUnsymmetric(Pairs):
    """The derivative by a strain that also rotates."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        if "stress" in results:
            size = np.abs(results["stress"]).max()
            results["stress"][0, 1] += 0.1 * size
            results["stress"][1, 0] -= 0.1 * size
        return results


class StressSign(Pairs):
    """The virial in place of the stress."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return {k: -x if k == "stress" else x for k, x in results.items()}


class StressShear(Pairs):
    """Shear components that count twice, as engineers' strains do."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        if "stress" in results:
            results["stress"] = results["stress"] * (2 - np.eye(3))
        return results


class NearestImage(Pairs):
    """One image of each pair alone, though the cutoff is more than half of the cell."""

    implemented_properties = ("energy", "forces")

    def offsets(self, atoms: Atoms) -> Array:
        offsets = super().offsets(atoms)
        nearest = np.linalg.norm(offsets, axis=-1).argmin(-1)
        return np.take_along_axis(offsets, nearest[..., None, None], 2)


class Unwrapped(Pairs):
    """Images of the next cells alone, counted from where the atoms are."""

    def positions(self, atoms: Atoms) -> Array:
        return atoms.get_positions()


class Ordered(Pairs):
    """Every other atom of the list counts more."""

    def weights(self, atoms: Atoms) -> Array:
        return 1 + 0.05 * (np.arange(len(atoms)) % 2)


class Truncated(Pairs):
    """The energy is continuous at the cutoff, but not the force."""

    def pair(self, r: Array) -> tuple[Array, Array]:
        return 1 / r - 1 / self.cutoff, -1 / r**2


class Kinked(Pairs):
    """The force jumps between two pieces of a spline."""

    def pair(self, r: Array) -> tuple[Array, Array]:
        u, slope = super().pair(r)
        x, more = 1 - r / self.cutoff, np.clip(r - 2.7, 0, None)
        steeper = np.where(r > 2.7, x**4, 0) - 4 / self.cutoff * more * x**3
        return u + 0.5 * more * x**4, slope + 0.5 * steeper


class Noisy(Pairs):
    """Another force at every call."""

    random = np.random.default_rng(0)

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        noise = 4e-6 * np.abs(results["forces"]).max() * self.random.uniform(-1, 1, (len(atoms), 3))
        return results | {"forces": results["forces"] + noise}


class Skewed(Pairs):
    """Distances along z count more."""

    implemented_properties = ("energy", "forces")

    def offsets(self, atoms: Atoms) -> Array:
        return super().offsets(atoms) * [1, 1, 1.02]

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return results | {"forces": results["forces"] * [1, 1, 1.02]}


class TotalChargeAlone(Pairs):
    """Charged structures have one energy more, whatever their size."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        results["energy"] += 5.0 * atoms.info["charge"] ** 2
        return results


class Charged(Pairs):
    """Right: an energy for each atom and one for each charge, of structures that have a charge."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        results["energy"] += 5.0 * atoms.info["charge"]
        return results


class SmallCharges(Charged):
    """Right, and trained on charges up to 1."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        if abs(atoms.info["charge"]) > 1:
            raise ValueError("no such charge in the training data")
        return super().sums(atoms)


class CrystalsAlone(Pairs):
    """Right, of periodic structures."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        if not atoms.pbc.all():
            raise NotImplementedError("not periodic")
        return super().sums(atoms)


class FourAtoms(Pairs):
    """Right, of structures that pairs are not among."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        if len(atoms) % 4:
            raise NotImplementedError("layers of four atoms")
        return super().sums(atoms)


class Lonely(Pairs):
    """Fails where an atom has no neighbours."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        if not results["energy"]:
            raise RuntimeError("no edges")
        return results


class Rounded(Pairs):
    """Right, but that energies are rounded to float32, at an offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return results | {"energy": float(np.float32(results["energy"] + self.offset))}


class RoundedForcesOff(Rounded):
    """Forces 2 % too large, of energies in float32."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return results | {"forces": 1.02 * results["forces"]}


class RoundedForcesSign(Rounded):
    """Gradients in place of forces, of energies in float32."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        return results | {"forces": -results["forces"]}


class SmallestForceOff(Pairs):
    """The smallest component above 2 % of the largest is itself 2 % too large."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        size = np.abs(results["forces"])
        size[size < 0.02 * size.max()] = np.inf
        k = np.unravel_index(size.argmin(), size.shape)
        results["forces"][k] *= 1.02
        return results


class OneElementOff(Pairs):
    """Forces on hydrogen are 5 % too large."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        results["forces"][atoms.numbers == 1] *= 1.05
        return results


class OneAtomOff(Pairs):
    """One component of the first atom is off by 4 % of the largest force."""

    def sums(self, atoms: Atoms) -> dict[str, Any]:
        results = super().sums(atoms)
        results["forces"][0, 2] += 0.04 * np.abs(results["forces"]).max()
        return results
