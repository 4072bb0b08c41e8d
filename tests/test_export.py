"""A model outlives its run: one file, or a program for torch alone."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.cli import main
from geqlib.export import energy_inputs, energy_program, export_model, export_program
from geqlib.models import PONITA, Potential, energy_forces
from tests.models.atoms import CUTOFF, fields, pairs, ponita, system

NETWORK = {"in_scalars": 4, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0, "layers": 1}


def checkpoint(folder: Path, **network: object) -> Path:
    """What `geqlib fit` leaves of an EnergyForces task."""
    arguments = NETWORK | {"channels": 8, "cutoff": CUTOFF} | network
    torch.manual_seed(0)
    potential = Potential(PONITA(**arguments), zbl=True)
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6, 8]] = True
    references = torch.linspace(-1e4, 0, 119, dtype=torch.float64)
    potential.statistics.set(references, seen, 2.5, 0.5)
    net = {"class_path": "geqlib.models.PONITA", "init_args": arguments}
    wrapped = {"class_path": "geqlib.models.Potential", "init_args": {"model": net, "zbl": True}}
    state = {f"model.{key}": value for key, value in potential.state_dict().items()}
    content = {
        "state_dict": state,
        "hyper_parameters": {"_class_path": "geqlib.train.EnergyForces", "model": wrapped},
        "datamodule_hyper_parameters": {"cutoff": 2.5},
    }
    torch.save(content, folder / "best.ckpt")
    return folder / "best.ckpt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("export")
    path, out = checkpoint(folder), folder / "model.geqlib"
    assert main(["export", str(path), "--out", str(out)]) == 0
    return path, out


def test_the_file_gives_the_same_model(exported):
    one, other = (geqlib.load(path) for path in exported)
    assert isinstance(other, Potential) and not other.training
    state = other.state_dict()
    assert state.keys() == one.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(value, state[key]) and value.dtype == state[key].dtype


def test_the_file_says_what_it_is(exported):
    with safe_open(exported[1], "pt") as file:
        header = json.loads(file.metadata()["geqlib"])
    assert header["version"] == geqlib.__version__ and header["cutoff"] == 2.5
    assert header["model"]["class_path"] == "geqlib.models.Potential"


def test_calculators_read_it_and_use_the_cutoff_of_the_data(exported):
    pos, z, _ = system(5, periodic=False)
    found = []
    for path in exported:
        atoms = Atoms(z.numpy(), pos.numpy(), calculator=GeqCalculator(path, dtype=torch.float64))
        assert atoms.calc.cutoff == 2.5
        found.append(atoms.get_forces())
    np.testing.assert_array_equal(*found)
    assert GeqCalculator(exported[1], cutoff=3.0).cutoff == 3.0


def test_an_export_can_be_exported_again(exported, tmp_path):
    export_model(exported[1], tmp_path / "again.geqlib")
    assert (tmp_path / "again.geqlib").read_bytes() == exported[1].read_bytes()


def test_damaged_and_foreign_files(exported, tmp_path):
    whole = exported[1].read_bytes()
    path = tmp_path / "bad.geqlib"
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for content, message in (
        (bytes(flipped), "checksum"),
        (whole[:-5], "truncated or damaged"),
        (whole[:200], "truncated or damaged"),
        (b"", "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            geqlib.load(path)
    save_file(load_file(exported[1]), path)
    with pytest.raises(ValueError, match="does not say how"):
        geqlib.load(path)


def rewrite(source: Path, path: Path, **changes: object) -> Path:
    with safe_open(source, "pt") as file:
        header = json.loads(file.metadata()["geqlib"]) | changes
    save_file(load_file(source), path, metadata={"geqlib": json.dumps(header)})
    return path


def test_a_file_cannot_name_other_code(exported, tmp_path):
    foreign = {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}
    with pytest.raises(ValueError, match="not a class of geqlib"):
        geqlib.load(rewrite(exported[1], tmp_path / "a.geqlib", model=foreign))
    with pytest.raises(ValueError, match="does not know"):
        geqlib.load(rewrite(exported[1], tmp_path / "b.geqlib", format=99))


def test_errors_of_the_command(tmp_path, capsys):
    assert main(["export", "nowhere.ckpt", "--out", str(tmp_path / "x")]) == 2
    assert "There is no checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


@pytest.mark.usefixtures("quiet")
def test_the_program_serves_other_sizes(exported, tmp_path):
    out = tmp_path / "energy.pt2"
    export_program(exported[1], out)
    notes = {"geqlib.json": ""}
    program = torch.export.load(out, extra_files=notes).module()
    assert json.loads(notes["geqlib.json"])["elements"] == [1, 6, 8]
    cutoff = json.loads(notes["geqlib.json"])["cutoff"]
    potential = geqlib.load(exported[0]).requires_grad_(False)
    for nodes, periodic in ((8, True), (3, False), (1, False)):
        pos, z, cell = (
            x.float() if x.is_floating_point() else x for x in system(nodes, periodic=periodic)
        )
        inputs = energy_inputs(potential, pos, z, cell=cell, cutoff=cutoff)
        kept = {name: value for name, value in inputs.items() if name != "rows"}
        expected = energy_forces(potential, **kept)
        pos.requires_grad_()
        total, atoms = program(**(inputs | {"pos": pos}))
        # the same sums, perhaps in another order of rows
        torch.testing.assert_close(total, expected["energy"], rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(atoms, expected["energies"], rtol=1e-6, atol=1e-5)
        (slope,) = torch.autograd.grad(total.sum(), pos)
        torch.testing.assert_close(-slope, expected["forces"], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("quiet")
def test_a_network_whose_code_depends_on_the_size():
    # `len` of a tensor is a number, which the trace would keep
    with pytest.raises(ValueError, match="cannot export Pairs for all sizes"):
        energy_program(pairs())


@pytest.mark.usefixtures("quiet")
def test_kernels_without_pairs_of_edges():
    potential = ponita(space="SE3", layers=1, orientations=4)
    pos, z, cell = system(4, periodic=True)
    inputs = energy_inputs(potential, pos, z, cell=cell)
    assert len(inputs["rows"]) == inputs["edge_index"].size(1)
    total, _ = energy_program(potential).module()(**inputs)
    expected = energy_forces(potential, **fields(pos, z, cell[None]))["energy"]
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-10)
