"""Files of structures: what is read is what was written, and bad ones get one sentence."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from geqlib.data.molecules.extxyz import read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.structures import check_structure

MIRROR = os.environ.get("GEQLIB_DATA")
needs_mirror = pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA is not set")
WATER = (
    "3\n"
    'Properties=species:S:1:pos:R:3:forces:R:3 energy=-14.0 pbc="F F F"\n'
    "O 0.0 0.0 0.0 0.1 0.2 0.3\n"
    "H 1.0 0.0 0.0 -0.1 0.0 0.0\n"
    "H 0.0 1.0 0.0 0.0 -0.2 -0.3\n"
)
CRYSTAL = (
    "1\n"
    'Lattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3:forces:R:3 energy=-3.5 '
    'stress="1 2 3 2 4 5 3 5 6" pbc="T T T"\n'
    "Cu 0.0 0.0 0.0 0.0 0.0 0.0\n"
)
GEOMETRY = Labels(energy=None, forces=None)


@pytest.fixture
def file(tmp_path):
    """Writes text to a file."""

    def file(text, name="frames.xyz"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


def frames(path, labels=None, **options):
    return list(read_frames([path], Labels() if labels is None else labels, **options))


def sentence(path, labels=None, **options):
    """What a bad file is told, the path left out."""
    with pytest.raises(ValueError) as caught:
        frames(path, labels, **options)
    said = str(caught.value)
    assert said.count("\n") == 0 and len(said) < 600 and str(path) in said
    return said.replace(str(path), "FILE")


def random_frames(count=6, seed=0, labels=True):
    """ASE structures of all kinds: molecules, slabs and crystals."""
    rng = np.random.default_rng(seed)
    built = []
    for k in range(count):
        n = int(rng.integers(1, 6))
        pbc = [(False,) * 3, (True, True, False), (True,) * 3][k % 3]
        cell = None if k % 3 == 0 else 8 * np.eye(3) + rng.normal(size=(3, 3))
        atoms = Atoms(rng.integers(1, 30, n), 5 * rng.normal(size=(n, 3)), cell=cell, pbc=pbc)
        if labels:
            atoms.info["E"], atoms.info["Q"] = rng.normal(), int(rng.integers(-2, 3))
            atoms.info["S"] = rng.normal(size=9) if any(pbc) else np.full(9, np.nan)
            atoms.set_array("F", rng.normal(size=(n, 3)))
            atoms.set_array("e", rng.normal(size=n))
        built.append(atoms)
    return built


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_what_ase_writes_is_read(tmp_path, ending):
    built, path = random_frames(), tmp_path / f"frames.xyz{ending}"
    write(path, built, format="extxyz")
    labels = Labels(energy="E", forces="F", stress="S", energies="e", charge="Q")
    actual = frames(path, labels, missing="mask")
    assert [frame.number for frame in actual] == list(range(len(built)))
    for atoms, frame in zip(built, actual, strict=True):
        assert np.array_equal(frame.z, atoms.numbers) and np.array_equal(frame.pbc, atoms.pbc)
        # ASE writes positions and arrays with 8 decimals, the rest in full
        assert np.allclose(frame.pos, atoms.positions, rtol=0, atol=5.1e-9)
        assert np.array_equal(frame.cell, atoms.cell.array)
        assert frame.labels["energy"] == atoms.info["E"]
        assert frame.labels["charge"] == atoms.info["Q"]
        stress = atoms.info["S"].reshape(3, 3)
        assert np.array_equal(frame.labels["stress"], stress, equal_nan=True)
        assert np.allclose(frame.labels["forces"], atoms.arrays["F"], rtol=0, atol=5.1e-9)
        assert np.allclose(frame.labels["energies"], atoms.arrays["e"], rtol=0, atol=5.1e-9)


def test_labels_that_ase_moves_into_a_calculator(file):
    """energy, forces and stress, in Voigt's order and as a matrix, are what the file says."""
    (frame,) = frames(file(CRYSTAL), Labels(stress="stress"))
    assert frame.labels["energy"] == -3.5
    assert frame.labels["stress"].tolist() == [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
    voigt = CRYSTAL.replace("stress=", "voigt=").replace("1 2 3 2 4 5 3 5 6", "1 4 6 5 3 2")
    (again,) = frames(file(voigt), Labels(stress="voigt"))
    assert np.array_equal(again.labels["stress"], frame.labels["stress"])


def test_constraints_leave_the_forces_alone(file):
    text = WATER.replace("forces:R:3", "forces:R:3:move_mask:L:1")
    path = file(
        "".join(f"{line} F\n" if line[0] in "OH" else f"{line}\n" for line in text.split("\n")[:-1])
    )
    assert not read(path).get_forces().any()
    (frame,) = frames(path)
    assert frame.labels["forces"].tolist() == [[0.1, 0.2, 0.3], [-0.1, 0, 0], [0, -0.2, -0.3]]


# published factors (CODATA), to the digits that the constants of ASE agree with them
FACTORS = {
    "meV": 1e-3,
    "Hartree": 27.2113860,
    "kcal/mol": 0.0433641,
    "kJ/mol": 0.01036427,
}


@pytest.mark.parametrize("unit", FACTORS)
def test_units_of_energy(file, unit):
    (one,) = frames(file(WATER))
    (other,) = frames(file(WATER), Labels(energy_unit=unit))
    for name in ("energy", "forces"):
        assert np.allclose(other.labels[name], one.labels[name] * FACTORS[unit], rtol=1e-6)
    assert np.array_equal(one.pos, other.pos)


def test_units_of_length_and_of_derivatives(file):
    bohr, hartree, gpa = 0.52917721, 27.2113860, 1 / 160.21766
    path = file(CRYSTAL.replace("0.0 0.0 0.0 0.0 0.0 0.0", "0.5 0 0 2 0 0"))
    labels = Labels(stress="stress", energy_unit="Hartree", length_unit="bohr")
    (frame,) = frames(path, labels)
    assert np.allclose(frame.pos, [[0.5 * bohr, 0, 0]], rtol=1e-7)
    assert np.allclose(frame.cell, 2 * bohr * np.eye(3), rtol=1e-7)
    assert np.allclose(frame.labels["forces"], [[2 * hartree / bohr, 0, 0]], rtol=1e-6)
    assert np.allclose(frame.labels["stress"][0, 0], hartree / bohr**3, rtol=1e-6)
    named = Labels(stress="stress", forces_unit="meV/A", stress_unit="GPa")
    (frame,) = frames(path, named)
    assert np.allclose(frame.labels["forces"][0, 0], 2e-3)
    assert np.allclose(frame.labels["stress"][1, 2], 5 * gpa, rtol=1e-6)
    assert frame.pos[0, 0] == 0.5
    (frame,) = frames(path, Labels(stress="stress", stress_unit="kbar"))
    assert np.allclose(frame.labels["stress"][1, 2], 0.5 * gpa, rtol=1e-6)


def test_virial_becomes_stress(file):
    path = file(CRYSTAL.replace("stress", "virial"))
    labels = Labels(virial="virial", energy_unit="meV", length_unit="bohr")
    volume = 8 * 0.52917721**3
    expected = -1e-3 / volume * np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]])
    assert np.allclose(frames(path, labels)[0].labels["stress"], expected, rtol=1e-6)
    nothing = file(WATER.replace("energy", 'virial_=0 virial="1 0 0 0 1 0 0 0 1" energy'))
    assert "there is no cell" in sentence(nothing, Labels(virial="virial"))


def test_several_files_are_numbered_on(file):
    paths = [file(WATER * 2, "a.xyz"), file(CRYSTAL, "b.xyz")]
    actual = list(read_frames(paths, Labels()))
    assert [(f.number, f.path.name) for f in actual] == [(0, "a.xyz"), (1, "a.xyz"), (2, "b.xyz")]
    for frame in actual:
        text = frame.path.read_bytes()[frame.start : frame.stop].decode()
        assert text == (CRYSTAL if frame.path.name == "b.xyz" else WATER)


@pytest.mark.parametrize("text", [WATER + "\n\n" + WATER, WATER.replace("\n", "\r\n") * 2])
def test_blank_lines_and_windows(file, text):
    assert len(frames(file(text.rstrip()))) == 2


BAD = {
    "empty file": ("", "FILE is empty"),
    "blank lines": ("\n \n", "FILE is empty"),
    "no number": ("hello\n", "frame 0: expected a number of atoms, found 'hello'"),
    "binary": (b"\x89PNG\x00\xff\xfe" * 9, "frame 0: expected a number of atoms"),
    "negative": ("-3\n", "frame 0: expected a number of atoms, found '-3'"),
    "absurd": ("9" * 30 + "\n", "frame 0: expected a number of atoms, found '9999"),
    "no atoms": ("0\n\n", "frame 0: it has no atoms"),
    "cut in the atoms": (WATER + WATER[:-28], "frame 1: it is cut off after 2 of 3 atoms"),
    "cut in a line": (WATER + WATER[:-12], "frame 1: line 5 of the frame has 5 columns"),
    "cut in the comment": (WATER + WATER[:20], "frame 1: it is cut off after 0 of 3 atoms"),
    "cut after the number": (WATER + "3", "frame 1: it is cut off after 0 of 3 atoms"),
    "too many announced": ("4" + WATER[1:] + WATER, "frame 0: line 6 of the frame has 1 column"),
    "too few announced": ("2" + WATER[1:] + WATER, "frame 1: expected a number of atoms, found 'H"),
    "no element": (WATER.replace("O ", "Xx "), "frame 0: ASE cannot read it (KeyError: 'Xx')"),
    "dummy": (WATER.replace("O ", "X "), "frame 0: atom 0 has the atomic number 0"),
    "NaN position": (WATER.replace("H 1.0", "H NaN"), "the position of atom 1 is NaN or infinite"),
    "infinite position": (WATER.replace("H 1.0", "H inf"), "position of atom 1 is NaN or infinite"),
    "one place": (
        WATER.replace("H 1.0", "H 0.0009"),
        "frame 0: atoms 0 and 1 have the same position",
    ),
    "NaN energy": (WATER.replace("-14.0", "nan"), "frame 0: 'energy' (energy) is NaN"),
    "NaN forces": (WATER.replace("0.2 0.3", "0.2 nan"), "'forces' (forces) is NaN"),
    "infinite energy": (WATER.replace("-14.0", "-inf"), "'energy' (energy) is infinite"),
    "endless energy": (WATER.replace("-14.0", "1e999"), "'energy' (energy) is infinite"),
    "infinite forces": (WATER.replace("0.2 0.3", "0.2 inf"), "'forces' (forces) is infinite"),
    "forces too large for float32": (
        WATER.replace("0.2 0.3", "0.2 1e39"),
        "'forces' (forces) is infinite",
    ),
    "text energy": (WATER.replace("-14.0", "unknown"), "'energy' (energy) is 'unknown', which is"),
    "energy without value": (WATER.replace("=-14.0", ""), "'energy' (energy) is 'True', which is"),
    "two energies": (WATER.replace("-14.0", '"1 2"'), "has shape (2,): expected one number"),
    "one energy missing": (
        WATER + WATER.replace(" energy=-14.0", ""),
        "frame 1: there is no key 'energy' for the energy, only forces: name the right one, null",
    ),
    "old key": (
        WATER.replace("energy", "dft_energy").replace("forces", "dft_forces"),
        "frame 0: there is no key 'energy' for the energy, only dft_energy, dft_forces: name",
    ),
    "flat cell": (
        CRYSTAL.replace("0 2 0 0 0 2", "0 2 0 0 2 0"),
        "which span no volume: correct Lattice",
    ),
    "no cell": (CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "0 0 0 0 0 0 0 0 0"), "span no volume"),
    "NaN cell": (CRYSTAL.replace("2 0 0 0 2 0", "2 0 0 0 nan 0"), "cell is NaN or infinite"),
    "short cell": (CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "2 2 2"), "ASE cannot read it"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(file, case):
    text, expected = BAD[case]
    assert expected in sentence(file(text))


def test_labels_of_a_wrong_kind(file):
    path = file(WATER.replace("energy", 'E="1 2 3" energy'))
    assert "'E' (forces) has shape (3,): expected (3, 3)" in sentence(path, Labels(forces="E"))
    assert "no key 'F' for the forces, only E, energy, forces" in sentence(path, Labels(forces="F"))
    many = file(WATER.replace("energy=", " ".join(f"k{k}={k}" for k in range(99)) + " energy="))
    assert "and 81 more" in sentence(many, Labels(energy="E"))


def test_atoms_at_one_place_through_a_wall(file):
    def crystal(x, y, z, pbc="T T T"):
        text = CRYSTAL.replace("1\n", "2\n", 1).replace('pbc="T T T"', f'pbc="{pbc}"')
        return file(text + f"Cu {x} {y} {z} 0 0 0\n")

    for far in ((1.9995, 0, 0), (-1.9999, 2.0001, 0), (0, 4, -6), (2, 2, 2 + 5e-4)):
        assert "atoms 0 and 1 have the same position" in sentence(crystal(*far))
        assert len(frames(crystal(*far, pbc="F F F"))) == 1
    assert len(frames(crystal(1.998, 0, 0))) == 1
    assert len(frames(crystal(2.0, 0, 0, pbc="F T T"))) == 1
    assert "have the same position" in sentence(crystal(0, 2, 0, pbc="F T F"))


def test_atoms_at_one_place_in_skew_cells():
    """Against all images in the neighbouring cells, written out."""
    rng = np.random.default_rng(1)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
    seen = []
    for _ in range(100):
        cell = 4 * np.eye(3) + rng.normal(size=(3, 3))
        walls = rng.choice([0, 1e-5, 2e-4, 1 - 1e-5, 1 - 2e-4], (2, 3))
        pos = np.concatenate([walls, rng.random((1, 3))]) @ cell
        offset = pos[1] - pos[0] + shifts @ cell
        seen.append(np.linalg.norm(offset, axis=1).min() < 1e-3)
        try:
            check_structure(np.ones(3, int), pos, cell, np.ones(3, bool))
            assert not seen[-1]
        except ValueError:
            assert seen[-1]
    assert 20 < sum(seen) < 80


def test_flat_cells_of_slabs_are_fine(file):
    slab = CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "2 0 0 0 2 0 0 0 0").replace("T T T", "T T F")
    assert frames(file(slab))[0].cell[2].tolist() == [0, 0, 0]


def test_bad_frames_are_left_out(file):
    path = file(WATER + WATER.replace("-14.0", "nan") + CRYSTAL + WATER[:-28])
    with pytest.warns(UserWarning, match=r"2 of 4 frames .* frame 1: 'energy' .* is NaN"):
        actual = frames(path, on_bad_frame="skip")
    assert [frame.number for frame in actual] == [0, 2]
    assert "No frame can be used" in sentence(path, Labels(energy="E"), on_bad_frame="skip")
    lost = file(WATER + "what?\n" + WATER)  # nobody can tell where the next frame begins
    assert "expected a number of atoms, found 'what?'" in sentence(lost, on_bad_frame="skip")


def test_missing_labels_become_nan(file):
    text = WATER + WATER.replace(" energy=-14.0", "") + WATER.replace("0.2 0.3", "0.2 nan")
    one, two, three = frames(file(text), missing="mask")
    assert one.labels["energy"] == -14 and np.isnan(two.labels["energy"])
    assert two.labels["energy"].shape == ()
    assert np.isnan(three.labels["forces"]).sum() == 1 and three.labels["forces"][0, 0] == 0.1
    nowhere = sentence(file(text), Labels(stress="stress"), missing="mask")
    assert "No frame of FILE has the key 'stress' for the stress" in nowhere
    empty = file(WATER.replace("-14.0", "nan"))
    assert "has the key 'energy' for the energy" in sentence(empty, missing="mask")


ATOM = '1\nProperties=species:S:1:pos:R:3 energy=-13.6 pbc="F F F"\nH 0 0 0\n'


@pytest.mark.parametrize(
    ("text", "isolated"),
    [
        (ATOM, True),
        (WATER, False),
        (CRYSTAL, False),
        (CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "9 0 0 0 9 0 0 0 9"), True),
        (CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "9 0 0 8 4 0 0 0 9"), False),
        (CRYSTAL.replace("2 0 0 0 2 0 0 0 2", "9 0 0 0 2 0 0 0 9").replace("T T T", "T F T"), True),
        (CRYSTAL.replace("energy", "config_type=IsolatedAtom energy"), True),
    ],
)
def test_atoms_on_their_own(file, text, isolated):
    assert [frame.isolated for frame in frames(file(text + WATER), alone=5.0)] == [isolated, False]
    assert not frames(file(WATER), alone=None)[0].isolated


def test_atoms_on_their_own_need_only_an_energy(file):
    atom, _ = frames(file(ATOM + WATER), alone=5.0)
    assert atom.labels["energy"] == -13.6 and np.isnan(atom.labels["forces"]).all()
    assert "no key 'forces'" in sentence(file(ATOM + WATER))
    nothing = ATOM.replace("energy=-13.6", "")
    assert "no key 'energy'" in sentence(file(nothing + WATER), alone=5.0, missing="mask")


def test_long_lines(file, monkeypatch):
    tenth = WATER.replace("energy", "note=" + "x" * 10**6 + " energy")
    assert frames(file(tenth))[0].labels["energy"] == -14
    assert "expected a number of atoms" in sentence(file("1" * 10**7))
    monkeypatch.setattr("geqlib.data.molecules.extxyz.MAX_LINE", 10**5)
    assert "frame 0: a line is longer than 100000 bytes" in sentence(file(tenth))


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_damaged_archives(file, ending, pack):
    whole = pack((WATER * 50).encode())
    for spoilt in (whole[: len(whole) // 2], b"not packed at all", whole[:-8] + b"?" * 8):
        assert "cannot be read" in sentence(file(spoilt, f"frames.xyz.{ending}"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"energy_unit": "Ry"}, "energy_unit must be one of eV, meV, Hartree, kcal/mol, kJ/mol"),
        ({"length_unit": "nm"}, "length_unit must be one of angstrom, bohr, got 'nm'"),
        ({"forces_unit": "eV"}, "forces_unit must be one of eV/A, meV/A"),
        ({"stress_unit": "Pa"}, "stress_unit must be one of eV/A"),
        ({"virial": "v", "stress_unit": "GPa"}, "stress_unit='GPa' is not used: a virial is in"),
        ({"stress": "s", "virial": "v"}, "Both stress ('s') and virial ('v') are named"),
    ],
    ids=str,
)
def test_wrong_options(options, expected):
    with pytest.raises(ValueError) as caught:
        Labels(**options)
    assert expected in str(caught.value)


def test_no_labels_at_all(file):
    assert frames(file("2\njust some water\nO 0 0 0\nH 0 0 1\n"), GEOMETRY)[0].labels == {}


MIRRORED = {
    "3bpa/train_300K.xyz.xz": (500, {27}, -17660.0, {}),
    "3bpa/train_mixedT.xyz.xz": (500, {27}, -17658.0, {}),
    "mlearn/Si/train.extxyz.xz": (214, set(range(12, 97)), None, {"stress": "stress"}),
    "mlearn/Si/test.extxyz.xz": (25, set(range(12, 97)), None, {"stress": "stress"}),
    "mlearn/Cu/train.extxyz.xz": (262, set(range(6, 109)), None, {"stress": "stress"}),
    "mlearn/Cu/test.extxyz.xz": (31, set(range(6, 109)), None, {"stress": "stress"}),
    "mace_tutorial_solvents/solvent_test.xyz.xz": (200, None, None, {}),
    "mace_tutorial_solvents/volumeScan.xyz": (20, None, None, {}),
    "carbon_samples/carbon_reduced_100.xyz": (
        100,
        {4},
        -632.0,
        {"forces": "force", "virial": "virial"},
    ),
    "md17/aspirin_ccsd_15.xyz": (15, {21}, -17592.0, {"energy_unit": "kcal/mol"}),
    "md17/rmd17_ethanol_100.xyz": (100, {9}, -4209.8, {"energy_unit": "kcal/mol"}),
    "md17/rmd17_aspirin_1000_meV.xyz.xz": (1000, {21}, -17617.5, {"energy_unit": "meV"}),
}


@needs_mirror
@pytest.mark.parametrize("name", MIRRORED)
def test_mirror(name):
    count, sizes, energy, options = MIRRORED[name]
    actual = frames(Path(MIRROR or "") / name, Labels(**options))
    assert len(actual) == count
    assert sizes is None or {len(frame.z) for frame in actual} <= sizes
    energies = np.array([frame.labels["energy"] for frame in actual])
    assert energy is None or np.allclose(energies, energy, rtol=0, atol=5.0)
    total = np.array([frame.labels["forces"].sum(0) for frame in actual])
    # no net force: sums of a hundred numbers that are written with 8 decimals or fewer
    assert np.abs(total).max() < 0.05
