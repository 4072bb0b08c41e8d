"""What files may hold: every key and label is used, refused, or named in one warning."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from geqlib import load
from geqlib.data import MoleculeData
from geqlib.data.molecules.extxyz import pack_frames, read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.streamed import stream_frames
from geqlib.data.molecules.structures import to_atoms, with_neighbors

COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-1"
ONE = f"1\n{COLUMNS}\nH 0 0 0 0 0 0\n"
CELL = '"0 1.8 1.8 1.8 0 1.8 1.8 1.8 0"'
FREE = Labels(energy=None, forces=None)


@pytest.fixture
def file(tmp_path):
    def file(text: str, name: str = "a.xyz") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


def one(path: Path, labels: Labels = FREE, **options):
    (frame,) = read_frames([path], labels, **options)
    return frame


# --- the cell ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment",
    [
        f"Lattice={CELL} {COLUMNS}",
        f"lattice={CELL} {COLUMNS}",
        f"LATTICE = {CELL} {COLUMNS}",
        f"lattice={CELL} {COLUMNS.replace('Properties', 'properties')}",
        f'note="lattice=1 Lattice=2" lattice={CELL} {COLUMNS} PBC="T T T"',
    ],
)
def test_keys_of_the_format_in_any_case(file, comment):
    """GPUMD writes lattice and properties in lower case: a crystal stays one."""
    frame = one(file(f"1\n{comment}\nCu 0 0 0 1 2 3\n"), Labels())
    assert frame.cell.tolist() == [[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]
    assert frame.pbc.all() and frame.labels["forces"].tolist() == [[1, 2, 3]]


def test_upper_case_pbc_is_read(file):
    frame = one(file(f'1\nlattice={CELL} PBC="T F T"\nCu 0 0 0\n'))
    assert frame.pbc.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        (f"Lattice={CELL} lattice={CELL}", "it has 'Lattice' 2 times: keep one"),
        ('cell="3 0 0 0 3 0 0 0 3"', "under the key 'cell', but no Lattice"),
        ('Box="3 3 3"', "under the key 'Box', but no Lattice"),
        ("# CELL(abcABC): 3 3 3 90 90 90  Step: 1", "in the style of i-PI"),
    ],
)
def test_cells_that_nobody_would_read_are_refused(file, comment, sentence):
    with pytest.raises(ValueError, match="frame 0") as caught:
        one(file(f"1\n{comment}\nCu 0 0 0\n"))
    assert sentence in str(caught.value)


def test_words_called_cell_are_no_cell(file):
    assert not one(file("1\nunit_cell=conventional box=3\nCu 0 0 0\n")).pbc.any()


# --- stress --------------------------------------------------------------------------------------

VOIGT = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


@pytest.mark.parametrize("key", ["stress", "dft_stress", "virial", "virials"])
@pytest.mark.parametrize("numbers", ["1 2 3 4 5 6", "1 6 5 6 2 4 5 4 3"])
@pytest.mark.parametrize("option", ["stress", "virial"])
def test_six_numbers_or_nine_under_any_key(file, key, numbers, option):
    path = file(f'1\nLattice="2 0 0 0 2 0 0 0 2" {key}="{numbers}"\nCu 0 0 0\n')
    frame = one(path, Labels(energy=None, forces=None, **{option: key}))
    factor = 1 if option == "stress" else -1 / 8
    np.testing.assert_allclose(frame.labels["stress"], factor * np.array(VOIGT), rtol=1e-14)


def test_stresses_of_atoms_are_not_the_stress(file):
    text = (
        '1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3:stress:R:6 '
        'stress="1 2 3 4 5 6"\nCu 0 0 0 9 9 9 9 9 9\n'
    )
    frame = one(file(text), Labels(energy=None, forces=None, stress="stress"))
    assert frame.labels["stress"].tolist() == VOIGT


BARE = {
    "no cell": "",
    "a box that does not repeat": 'Lattice="20 0 0 0 20 0 0 0 20" pbc="F F F"',
    "a slab without a height": 'Lattice="9 0 0 0 9 0 0 0 0" pbc="T T F"',
}


@pytest.mark.parametrize("key", ["stress", "virial"])
@pytest.mark.parametrize("case", BARE)
def test_a_stress_needs_a_volume(file, case, key):
    """Not compared with zero, nor with virial / box: refused, or left out with one warning."""
    bare = f'1\n{BARE[case]} E=1 {key}="1 2 3 4 5 6"\nH 0 0 0\n'
    crystal = f'1\nLattice="2 0 0 0 2 0 0 0 2" E=1 {key}="1 2 3 4 5 6"\nCu 0 0 0\n'
    path = file(crystal + bare + bare)
    labels = Labels(energy="E", forces=None, **{key: key})
    with pytest.raises(ValueError, match=r"frame 1.*no cell along which .* leave such"):
        list(read_frames([path], labels))
    with pytest.warns(UserWarning, match=r"stress of 2 of 3 frames is left out.*frame 1"):
        frames = list(read_frames([path], labels, missing="mask"))
    assert [bool(np.isnan(frame.labels["stress"]).all()) for frame in frames] == [False, True, True]


def test_a_slab_in_a_cell_has_a_stress(file):
    text = '1\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T F" S="1 2 3 4 5 6"\nH 0 0 0\n'
    frame = one(file(text), Labels(energy=None, forces=None, stress="S"))
    assert frame.labels["stress"].tolist() == VOIGT


# --- species -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "row", "z"),
    [
        ("species:S:1:pos:R:3", "D 0 0 0", 1),
        ("species:S:1:pos:R:3", "T 0 0 0", 1),
        ("species:S:1:pos:R:3", "8 0 0 0", 8),
        ("species:I:1:pos:R:3", "29 0 0 0", 29),
        ("Z:I:1:pos:R:3", "29 0 0 0", 29),
        ("pos:R:3:species:S:1", "0 0 0 D", 1),
        ("species:S:1:pos:R:3", "cU 0 0 0", 29),
    ],
)
def test_isotopes_and_atomic_numbers(file, columns, row, z):
    assert one(file(f"1\nProperties={columns}\n{row}\n")).z.tolist() == [z]


def test_plain_files_may_have_them_too(file):
    frame = one(file("3\nheavy water\n8 0 0 0\nD 0 0 1\nd 0 1 0\n"))
    assert frame.z.tolist() == [8, 1, 1]


@pytest.mark.parametrize("species", ["0", "119", "D2", "-1"])
def test_other_species_are_refused(file, species):
    with pytest.raises(ValueError, match=r"ASE cannot read it|atomic number"):
        one(file(f"1\n\n{species} 0 0 0\n"))


def test_columns_with_double_colons(file):
    text = "1\nProperties=species:S:1:pos:R:3:mtt::F:R:3 energy=-1\nH 0 0 0 1 2 3\n"
    assert one(file(text), Labels(forces="mtt::F")).labels["forces"].tolist() == [[1, 2, 3]]


# --- files ---------------------------------------------------------------------------------------


def copper(count: int = 4) -> list[Atoms]:
    frames = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        rng = np.random.default_rng(seed)
        results = {"energy": rng.normal(), "forces": rng.normal(size=(4, 3))}
        results["stress"] = rng.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


@pytest.mark.parametrize("ending", ["traj", "db", "json"])
def test_files_that_ase_reads(tmp_path, ending):
    frames = copper()
    write(tmp_path / "a.xyz", frames)
    write(tmp_path / f"a.{ending}", frames)
    labels = Labels(stress="stress")
    pairs = [list(read_frames([tmp_path / f"a.{k}"], labels)) for k in ("xyz", ending)]
    for text, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(other.pos, text.pos, atol=1e-8)
        assert np.array_equal(other.cell, text.cell) and other.number == text.number
        for name, value in text.labels.items():
            np.testing.assert_allclose(other.labels[name], value, atol=1e-8)


def test_values_of_a_database(tmp_path):
    from ase.db import connect

    with connect(tmp_path / "a.db") as database:
        forces = np.ones((2, 3))
        database.write(Atoms("H2", np.eye(3)[:2]), dft_energy=-3.0, data={"dft_forces": forces})
    frame = one(tmp_path / "a.db", Labels(energy="dft_energy", forces="dft_forces"))
    assert frame.labels["energy"] == -3 and frame.labels["forces"].tolist() == forces.tolist()


def test_a_structure_without_labels_in_another_format(tmp_path):
    write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
    assert one(tmp_path / "POSCAR").z.tolist() == [29] * 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.npy", "numpy.savez"),
        ("a.lmdb", "ase.io.write"),
        ("a.zip", "`unzip "),
        ("a.xyz.zst", "`zstd -d "),
        ("a.tar.gz", "`tar xf "),
        ("a.traj.gz", "`gunzip "),
        ("a.traj", "ase convert"),
    ],
)
def test_files_that_need_a_conversion_say_how(file, name, sentence):
    with pytest.raises(ValueError) as caught:
        one(file("?", name))
    said = str(caught.value)
    assert sentence in said and name in said and "\n" not in said


def test_a_trajectory_that_was_stopped_before_its_first_frame_is_empty(tmp_path):
    (tmp_path / "a.traj").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.traj is empty: expected structures\.$"):
        one(tmp_path / "a.traj")


def test_other_formats_are_not_streamed(tmp_path):
    write(tmp_path / "a.traj", copper())
    with pytest.raises(ValueError, match="ase convert"):
        stream_frames([tmp_path / "a.traj"], Labels(), 3.0, cache=tmp_path)


# --- data modules --------------------------------------------------------------------------------


def sizes(data: MoleculeData, stage: str | None = None) -> dict[str, int]:
    data.setup(stage)
    return {split: len(part) for split, part in data.splits.items()}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("several", [False, True])
def test_paths_of_any_kind(file, tmp_path, kind, several):
    train, test = kind(file(ONE * 9)), kind(file(ONE * 2, "b.xyz"))
    options = {"reference_file": kind(file(ONE, "c.xyz")), "cache": kind(tmp_path / "cache")}
    parts = ([train], 1, [test]) if several else (train, 1, test)
    data = MoleculeData(*parts, cutoff=3.0, **options)
    assert sizes(data) == {"train": 8, "val": 1, "test": 2}
    # checkpoints hold plain values
    assert not any(isinstance(value, Path) for value in data.hparams.values())


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_share_of_few_frames_is_not_nothing(file, split):
    shares = {"val": 1, "test": 1} | {split: 0.1}
    with pytest.raises(ValueError, match=f"{split} is 0.1 of 4 frames, which is none"):
        sizes(MoleculeData(str(file(ONE * 4)), **shares, cutoff=3.0))
    assert sizes(MoleculeData(str(file(ONE * 4)), val=0.0, cutoff=3.0))["val"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_predictions_need_no_labels(file, tmp_path, stream):
    bare = file("1\n\nH 0 0 0\n" * 3, "new.xyz")
    options = {"cutoff": 3.0, "stress_key": "stress", "stream": stream, "cache": str(tmp_path)}
    data = MoleculeData(str(file(ONE * 9)), val=1, test=str(bare), **options)
    assert sizes(data, "predict") == {"test": 3}
    batch = data.splits["test"].__getitems__([0, 1])
    assert stream or not {"energy", "forces", "stress"} & set(batch.keys())
    # what was read so is not tested on
    with pytest.raises(ValueError, match="there is no key 'energy'"):
        data.setup("test")


def test_some_labels_are_kept_in_predictions(file):
    mixed = file(ONE + "1\n\nH 0 0 0\n", "new.xyz")
    data = MoleculeData(str(file(ONE * 9)), val=1, test=str(mixed), cutoff=3.0)
    data.setup("predict")
    assert data.splits["test"].energy.isnan().tolist() == [False, True]


def test_all_pairs_without_a_cutoff(file):
    """Of molecules; crystals need one."""
    far = file("2\nenergy=1\nH 0 0 0\nH 0 0 50\n" * 3)
    data = MoleculeData(str(far), val=1, forces_key=None)
    data.setup()
    assert data.splits["train"][0].edge_index.tolist() == [[1, 0], [0, 1]]
    crystal = file(f"1\nenergy=1 Lattice={CELL}\nCu 0 0 0\n" * 3, "c.xyz")
    with pytest.raises(ValueError, match="give MoleculeData a cutoff, or the network one"):
        MoleculeData(str(crystal), val=1, forces_key=None).setup()


# --- charge --------------------------------------------------------------------------------------

IONS = Labels(energy=None, forces=None, charge="charge", multiplicity="spin")


def test_charge_and_multiplicity_are_read(file):
    path = file("2\ncharge=-1 spin=1\nO 0 0 0\nH 0 0 1\n2\ncharge=0 spin=2\nO 0 0 0\nH 0 0 1\n")
    packed = pack_frames(read_frames([path], IONS))
    assert packed.charge.tolist() == [-1, 0] and packed.multiplicity.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        ("charge=1", "no key 'spin' for the multiplicity"),
        ("spin=1", "no key 'charge' for the charge"),
        ("charge=0.5 spin=1", "it must be a whole number"),
        ("charge=nan spin=1", "it must be a whole number"),
        # the number of unpaired electrons, or S itself
        ("charge=0 spin=1", "9 electrons (charge 0) cannot have the multiplicity 1"),
        ("charge=1 spin=0", "8 electrons (charge 1) cannot have the multiplicity 0"),
        ("charge=1 spin=2", "8 electrons (charge 1) cannot have the multiplicity 2"),
    ],
)
@pytest.mark.parametrize("missing", ["error", "mask", "allow"])
def test_charges_that_cannot_be(file, comment, sentence, missing):
    """They are inputs: no frame goes without, whatever labels it lacks."""
    with pytest.raises(ValueError) as caught:
        one(file(f"2\n{comment}\nO 0 0 0\nH 0 0 1\n"), IONS, missing=missing)
    assert sentence in str(caught.value)


# --- far from the cell ---------------------------------------------------------------------------


def unwrapped(cells: int, pbc=True) -> tuple[Atoms, Atoms]:
    near = bulk("Cu", cubic=True) * 2
    near.rattle(0.1, seed=1)
    near.pbc = pbc
    steps = np.random.default_rng(0).integers(-cells, cells + 1, (len(near), 3)) * near.pbc
    far = near.copy()
    far.positions += steps @ near.cell.array
    return near, far


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_unwrapped_frames_keep_their_edges(tmp_path, pbc, stream):
    """In float32 offsets of edges are those of the wrapped frame, and ASE gets the positions."""
    near, far = unwrapped(10_000, pbc)
    offsets = []
    for name, atoms in (("near", near), ("far", far)):
        path = tmp_path / f"{name}.xyz"
        write(path, atoms, format="extxyz")
        if stream:
            data = stream_frames([path], FREE, 3.0, cache=tmp_path)
        else:
            data = with_neighbors(pack_frames(read_frames([path], FREE)), 3.0, keep=True)
        batch = data[0]
        assert batch.pos.dtype == torch.float32
        source, target = batch.edge_index
        offset = batch.pos[source] - batch.pos[target] + batch.cell_shift @ batch.cell[0]
        offsets.append(offset[np.lexsort(offset.numpy().round(3).T)])
        assert np.abs(to_atoms(batch).positions - atoms.positions).max() < 1e-5
    torch.testing.assert_close(offsets[1], offsets[0], rtol=0, atol=1e-5)


def test_a_cluster_far_from_the_origin(tmp_path):
    near = Atoms("H2O", [[0, 0, 0.123456], [0.76, 0.58, 0], [0, 1, 1]])
    far = near.copy()
    far.positions += [123456.7, -3e5, 0]
    write(tmp_path / "a.traj", [near, far])
    packed = pack_frames(read_frames([tmp_path / "a.traj"], FREE))
    first, second = packed[0].pos, packed[1].pos
    torch.testing.assert_close(second - second[0], first - first[0], rtol=0, atol=1e-6)
    assert np.abs(to_atoms(packed[1]).positions - far.positions).max() < 1e-6
    assert "origin" not in pack_frames(list(read_frames([tmp_path / "a.traj"], FREE))[:1])[0]


def test_what_is_near_stays_as_it_is(tmp_path):
    near, far = unwrapped(2)
    write(tmp_path / "a.xyz", [near, far], format="extxyz")
    packed = pack_frames(read_frames([tmp_path / "a.xyz"], FREE))
    written = np.concatenate([atoms.positions for atoms in read(tmp_path / "a.xyz", ":")])
    assert np.array_equal(packed.pos.numpy(), written.astype(np.float32))
    assert "origin" not in packed.arrays


@pytest.mark.parametrize("key", ["lattice_vectors", "LatticeVectors", "unit_cell", "abc"])
def test_cells_of_other_programs_are_named(file, key):
    """Numbers that nobody reads would turn a crystal into a molecule."""
    path = file(f'1\n{key}="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n')
    with pytest.raises(ValueError, match=f"numbers under the key '{key}', but no Lattice"):
        one(path)


def test_a_label_that_stands_twice_is_refused(file):
    """Of two energies nobody knows which one is meant."""
    path = file("1\nenergy=-3.5 energy=-7\nCu 0 0 0\n")
    with pytest.raises(ValueError, match="it has 'energy' 2 times: keep one"):
        one(path)


# --- columns -------------------------------------------------------------------------------------

ROWS = "H 0 0 0{0}\nH 0 0 1{0}\n"
POSITIONS = "species:S:1:pos:R:3"
COLUMN_FAULTS = {
    "more": (POSITIONS, " 1 2 3", "line 3 of the frame has 7 columns, but .* are 4: describe"),
    "no Properties": ("", " 1 2 3", "line 3 of the frame has 7 columns, but .* are 4: describe"),
    "a remark": (POSITIONS, " # mine", "line 3 of the frame has 6 columns, but .* are 4"),
    "isotopes": (POSITIONS, " 1", "line 3 of the frame has 5 columns, but .* are 4"),
    "fewer": (f"{POSITIONS}:forces:R:3", " 1", "line 3 of the frame has 5 columns, but .* are 7"),
    "twice": (f"{POSITIONS}:f:R:1:f:R:1", " 1 2", r"give f more than once \(f, f\): keep one"),
    "two positions": (f"{POSITIONS}:positions:R:3", " 1 2 3", "more than once .pos, positions"),
    "two symbols": (f"{POSITIONS}:symbols:S:1", " O", r"more than once \(species, symbols\)"),
    "other numbers": (f"{POSITIONS}:Z:I:1", " 8", "line 3 .* species H and the atomic number of O"),
    "no positions": ("species:S:1:forces:R:3", "", "have no pos: name that column"),
    "no species": ("index:I:1:pos:R:3", "", "have no species: name that column"),
    "no width": ("species:S:1:pos:R", "", "write NAME:TYPE:COLUMNS for each"),
    "width of 0": (f"{POSITIONS}:q:R:0", "", "write NAME:TYPE:COLUMNS for each"),
    "another type": ("species:S:1:pos:X:3", "", "write NAME:TYPE:COLUMNS for each"),
}


@pytest.mark.parametrize("case", COLUMN_FAULTS)
def test_columns_that_are_not_described_are_refused(file, case):
    """ASE takes as many as it needs, and the last of two with one name."""
    properties, rest, said = COLUMN_FAULTS[case]
    comment = f"Properties={properties} E=1" if properties else "E=1"
    rows = ROWS.format(rest).replace("H", "D" if case == "isotopes" else "H")
    good = f"2\nProperties={POSITIONS}\n{ROWS.format('')}"
    path = file(f"{good}2\n{comment}\n{rows}")
    with pytest.raises(ValueError, match=f"a.xyz, frame 1: .*{said}"):
        list(read_frames([path], FREE))


def test_one_row_with_more(file):
    path = file(f"2\nProperties={POSITIONS}\nH 0 0 0\nH 0 0 1 7\n")
    with pytest.raises(ValueError, match="frame 0: line 4 of the frame has 5 columns"):
        list(read_frames([path], FREE))


@pytest.mark.parametrize("species", ["H", "h", "D"])
def test_symbols_and_numbers_that_agree(file, species):
    path = file(f"1\nProperties={POSITIONS}:Z:I:1\n{species} 0 0 0 1\n")
    assert one(path).z.tolist() == [1]


def test_energies_of_atoms_in_two_places(file):
    path = file(f'1\nProperties={POSITIONS}:energies:R:1 energies="3"\nH 0 0 0 1\n')
    labels = Labels(energy=None, forces=None, energies="energies")
    with pytest.raises(ValueError, match=r"'energies' .* is a column, and in the comment, too"):
        list(read_frames([path], labels))


# --- marks and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_byte_order_mark_is_passed_over(tmp_path, stream):
    """Editors of Windows write one."""
    path = tmp_path / "marked.xyz"
    path.write_bytes(BOM_UTF8 + (ONE * 3).encode())
    options = {"val": 1, "cutoff": 3.0, "stream": stream, "cache": tmp_path / "cache"}
    data = MoleculeData(path, **options)
    data.setup("fit")
    assert data.splits["train"].__getitems__([0, 1]).z.tolist() == [1, 1]
    assert data.splits["val"].__getitems__([0]).forces.tolist() == [[0, 0, 0]]


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.xyz").write_text(ONE)
    with pytest.raises(ValueError, match=r"data is a folder, which holds a.xyz: name the files"):
        MoleculeData(tmp_path / "data", val=1).setup("fit")
    with pytest.raises(ValueError, match=r"is a folder: name a checkpoint, .*best.ckpt"):
        load(tmp_path / "data")
