"""Structures in .npz and HDF5 files, in the layouts of MD17, MD22, revised MD17, SPICE and ANI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import units

from geqlib.data import MoleculeData
from geqlib.data.molecules.array_files import array_structures

DRAW = np.random.default_rng(5)
Z = np.array([8, 1, 1, 6])
POS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [2, 0, 0]]) + DRAW.normal(
    scale=0.05, size=(6, 4, 3)
)
ENERGY, FORCES = DRAW.normal(size=6), DRAW.normal(size=(6, 4, 3))


def md22(path: Path, **changes: Any) -> Path:
    """Text beside the arrays, and energies in a column, as sGDML writes them."""
    arrays: dict[str, Any] = {"z": Z, "R": POS, "E": ENERGY[:, None], "F": FORCES}
    arrays |= {"name": "own", "theory": "PBE+MBD", "md5": np.array(b"12"), "r_unit": "Ang"}
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


def test_layout_of_md22(tmp_path: Path) -> None:
    data = MoleculeData(
        md22(tmp_path / "md22_own.npz"),
        val=1,
        test=1,
        cutoff=3.0,
        energy_key="E",
        forces_key="F",
        energy_unit="kcal/mol",
    )
    data.setup()
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 4,
        "val": 1,
        "test": 1,
    }
    unit = units.kcal / units.mol
    for part in data.splits.values():
        index = part.index.numpy()
        np.testing.assert_allclose(part.energy, unit * ENERGY[index])
        np.testing.assert_allclose(part.forces, unit * FORCES[index].reshape(-1, 3), rtol=1e-6)
        np.testing.assert_allclose(part.pos, POS[index].reshape(-1, 3), rtol=1e-6, atol=1e-7)


def test_layout_of_revised_md17(tmp_path: Path) -> None:
    path = tmp_path / "rmd17_own.npz"
    names = {"nuclear_charges": Z, "coords": POS, "energies": ENERGY, "forces": FORCES}
    np.savez(path, **names, old_indices=np.arange(6))
    frames = list(array_structures(path))
    assert [float(atoms.info["energies"]) for atoms in frames] == ENERGY.tolist()
    assert np.array_equal(frames[3].arrays["forces"], FORCES[3])
    assert frames[5].info["old_indices"] == 5


def test_several_molecules_filled_up_with_zeros_and_cells(tmp_path: Path) -> None:
    z = np.array([[8, 1, 1, 0], [6, 8, 8, 7]])
    path = tmp_path / "own.npz"
    np.savez(path, z=z, R=POS[:2], E=ENERGY[:2], F=FORCES[:2], cell=9 * np.eye(3))
    first, second = array_structures(path)
    assert first.get_chemical_formula() == "H2O" and len(second) == 4
    assert np.array_equal(first.arrays["F"], FORCES[0, :3]) and first.pbc.all()
    assert np.array_equal(second.cell.array, 9 * np.eye(3))


def water(path: Path, **arrays: Any) -> list[Any]:
    """Two structures of three atoms, of which labels of structures have as many entries."""
    np.savez(path, z=Z[:3], R=POS[:2, :3], E=ENERGY[:2], F=FORCES[:2, :3], **arrays)
    return list(array_structures(path))


def test_three_atoms_keep_cell_stress_and_dipole(tmp_path: Path) -> None:
    cells = 9 * np.eye(3) + DRAW.normal(size=(2, 3, 3))
    stress, dipole = DRAW.normal(size=(2, 3, 3)), DRAW.normal(size=(2, 3))
    labels = {"REF_stress": stress, "dipole": dipole, "charges": dipole, "atomic_dipoles": stress}
    for k, atoms in enumerate(water(tmp_path / "own.npz", cell=cells, **labels)):
        assert np.array_equal(atoms.cell.array, cells[k]) and atoms.pbc.all()
        assert np.array_equal(atoms.info["REF_stress"], stress[k])
        assert np.array_equal(atoms.info["dipole"], dipole[k])
        assert np.array_equal(atoms.arrays["F"], FORCES[k, :3])
        assert np.array_equal(atoms.arrays["charges"], dipole[k])
        assert np.array_equal(atoms.arrays["atomic_dipoles"], stress[k])
    # where zeros fill up, the tensors are whole
    np.savez(tmp_path / "up.npz", z=np.array([[8, 1, 0], Z[:3]]), R=POS[:2, :3], stress=stress)
    first = next(array_structures(tmp_path / "up.npz"))
    assert len(first) == 2 and np.array_equal(first.info["stress"], stress[0])


def test_an_energy_in_a_column_of_single_atoms(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", z=Z[:1], R=POS[:, :1], E=ENERGY[:, None])
    assert [atoms.info["E"] for atoms in array_structures(tmp_path / "own.npz")] == ENERGY.tolist()


@pytest.mark.parametrize(
    "name", ["Lattice", "Cell", "box", "lattice_vectors", "cells", "unit_cell"]
)
def test_names_of_cells(name: str, tmp_path: Path) -> None:
    for atoms in water(tmp_path / "own.npz", **{name: 9 * np.eye(3)}):
        assert np.array_equal(atoms.cell.array, 9 * np.eye(3)) and atoms.pbc.all()
    for atoms in water(tmp_path / "own.npz", **{name: np.full((2, 3), 9.0)}):
        assert np.array_equal(atoms.cell.array, 9 * np.eye(3)) and atoms.pbc.all()


@pytest.mark.parametrize(
    ("pbc", "expected"),
    [
        (None, [[True] * 3] * 2),
        (np.array(False), [[False] * 3] * 2),
        (np.array([True, True, False]), [[True, True, False]] * 2),
        (np.array([1, 0]), [[True] * 3, [False] * 3]),
        (np.array([[1, 0, 0], [1, 1, 0]]), [[True, False, False], [True, True, False]]),
    ],
)
def test_periodicity(pbc: np.ndarray | None, expected: list[list[bool]], tmp_path: Path) -> None:
    arrays = {"cell": 9 * np.eye(3)} | ({} if pbc is None else {"pbc": pbc})
    assert [atoms.pbc.tolist() for atoms in water(tmp_path / "own.npz", **arrays)] == expected


def test_structures_repeat_along_vectors_that_are_not_zero(tmp_path: Path) -> None:
    cells = np.stack([np.diag([9.0, 9.0, 0.0]), np.zeros((3, 3))])
    first, second = water(tmp_path / "own.npz", cell=cells)
    assert first.pbc.tolist() == [True, True, False] and not second.pbc.any()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"box": np.ones(2)}, r"box is \(2,\), which is no cell: write vectors in rows"),
        ({"cell": np.eye(3), "Lattice": np.eye(3)}, "its cell is in Lattice and cell: keep one"),
        ({"cell": np.eye(3), "pbc": np.array([0, 2, 1])}, "pbc has other values than true and"),
        ({"cell": np.eye(3), "pbc": np.ones((2, 2))}, r"pbc is \(2, 2\), not one value, \[3\]"),
    ],
)
def test_cells_that_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        water(tmp_path / "own.npz", **arrays)


def test_three_structures_whose_cell_may_be_lengths(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, z=Z, R=POS[:3], cell=9 * np.eye(3))
    assert all(np.array_equal(a.cell.array, 9 * np.eye(3)) for a in array_structures(path))
    np.savez(path, z=Z, R=POS[:3], cell=np.ones((3, 3)))
    with pytest.raises(ValueError, match="one cell or the lengths of three"):
        list(array_structures(path))
    np.savez(path, z=Z, R=POS[:3], cell=9 * np.eye(3), pbc=np.array([True, True, False]))
    with pytest.raises(ValueError, match="of vectors or of structures"):
        list(array_structures(path))


def test_layout_of_spice(tmp_path: Path) -> None:
    """Groups of molecules, in atomic units, with gradients in place of forces."""
    h5py = pytest.importorskip("h5py", reason="HDF5 is read by h5py, which is optional")
    path = tmp_path / "SPICE-own.hdf5"
    with h5py.File(path, "w") as file:
        for name, atoms in (("water", 3), ("radical", 4)):
            group = file.create_group(name)
            group["atomic_numbers"] = Z[:atoms].astype(np.int16)
            group["conformations"] = (POS[:, :atoms] / units.Bohr).astype(np.float32)
            group["dft_total_energy"] = ENERGY
            group["dft_total_gradient"] = FORCES[:, :atoms].astype(np.float32)
            group["subset"] = [b"own"]
            group["smiles"] = [b"O"]
    data = MoleculeData(
        path,
        val=2,
        cutoff=3.0,
        energy_key="dft_total_energy",
        forces_key="dft_total_forces",
        energy_unit="Hartree",
        length_unit="bohr",
    )
    data.setup()
    train = data.splits["train"]
    assert len(train) == 10 and sorted(set(train.counts["node"].tolist())) == [3, 4]
    k = int((train.index == train.index.min()).nonzero()[0])
    # groups come in alphabetical order
    atoms, frame = (4, int(train.index[k])) if train.index[k] < 6 else (3, int(train.index[k]) - 6)
    one = train[k]
    np.testing.assert_allclose(one.pos, POS[frame, :atoms], rtol=1e-5, atol=1e-6)
    expected = -FORCES[frame, :atoms] * units.Hartree / units.Bohr
    np.testing.assert_allclose(one.forces, expected, rtol=1e-5)
    np.testing.assert_allclose(one.energy, ENERGY[frame] * units.Hartree)


def test_arrays_of_a_whole_hdf5_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="HDF5 is read by h5py, which is optional")
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["species"], file["coordinates"], file["energies"] = Z, POS, ENERGY
    frames = list(array_structures(path))
    assert len(frames) == 6 and frames[2].info["energies"] == ENERGY[2]
    with h5py.File(path, "w") as file:
        file["energies"] = ENERGY
    with pytest.raises(ValueError, match=r"own.h5 .*no group has atomic numbers"):
        list(array_structures(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": None}, "it has E, F, R: atomic numbers are called one of z, Z, nuclear_charges"),
        ({"R": None}, "positions are called one of R, coords"),
        ({"R": POS[..., :2]}, r"R is \(6, 4, 2\), not \[structures, atoms, 3\]"),
        ({"z": Z[:3]}, r"z is int64 \(3,\), but R \(6, 4, 3\)"),
        ({"z": Z.astype(float)}, "z is float64"),
        ({"coords": POS}, "positions are called one of"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = md22(tmp_path / "own.npz", **changes)
    with pytest.raises(ValueError, match=message):
        list(array_structures(path))


def test_damaged_files_and_objects(tmp_path: Path) -> None:
    path = md22(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"own.npz does not hold structures"):
        list(array_structures(path))
    objects = np.array([{"code": 1}], dtype=object)
    assert len(list(array_structures(md22(tmp_path / "object.npz", extra=objects)))) == 6
