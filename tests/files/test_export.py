"""A model outlives its run: one file, or a program for torch alone."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import geqlib
import geqlib.models
from benchmarks.rows import read_result
from geqlib.calculators import GeqCalculator
from geqlib.cli import main
from geqlib.files.checkpoint import FORMAT, digest, read_checkpoint
from geqlib.files.export import (
    energy_program,
    export_model,
    export_program,
    forces_program,
    program_inputs,
)
from geqlib.files.exported_program import is_program, plan_tensors, read_notes
from geqlib.graph import neighbor_list
from geqlib.models import PONITA, GauntNet, Potential, energy_forces
from tests.atoms.atoms import CUTOFF, fields, pairs, ponita, system

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
    actual = []
    for path in exported:
        # as the first edition allowed
        with pytest.warns(UserWarning, match=r"up to 2.5 angstrom, .* its network is 3.0"):
            calculator = GeqCalculator(path, dtype=torch.float64)
        atoms = Atoms(z.numpy(), pos.numpy(), calculator=calculator)
        assert atoms.calc.cutoff == 2.5
        actual.append(atoms.get_forces())
    np.testing.assert_array_equal(*actual)
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
    weights = load_file(source)
    del header["sha256"]
    header["sha256"] = digest(header, weights)
    save_file(weights, path, metadata={"geqlib": json.dumps(header)})
    return path


def test_a_file_cannot_name_other_code(exported, tmp_path):
    foreign = {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}
    with pytest.raises(ValueError, match="not a class of geqlib"):
        geqlib.load(rewrite(exported[1], tmp_path / "a.geqlib", model=foreign))
    with pytest.raises(ValueError, match="does not know"):
        geqlib.load(rewrite(exported[1], tmp_path / "b.geqlib", format=99))


@pytest.mark.slow
def test_files_of_other_versions(exported, program, tmp_path):
    later = {"format": FORMAT + 1, "version": "9.9"}
    said = rf"was written by geqlib 9\.9 in the format {FORMAT + 1}, which this version"
    with pytest.raises(ValueError, match=said):
        geqlib.load(rewrite(exported[1], tmp_path / "later.geqlib", **later))
    first = rewrite(exported[1], tmp_path / "first.geqlib", format=2)  # of the first edition
    assert first.exists() and isinstance(geqlib.load(first), Potential)
    content = torch.load(exported[0], weights_only=True)
    assert "geqlib" not in content  # as checkpoints of the first edition
    for record in (later, "later", {"format": "3"}):
        torch.save(content | {"geqlib": record}, tmp_path / "later.ckpt")
        with pytest.raises(ValueError, match=r"which this version .* does not know"):
            geqlib.load(tmp_path / "later.ckpt")
    with ZipFile(program) as old, ZipFile(tmp_path / "later.pt2", "w", ZIP_STORED) as new:
        for name in old.namelist():
            raw = old.read(name)
            if name.endswith("geqlib.json"):
                raw = json.dumps(json.loads(raw) | later).encode()
            new.writestr(name, raw)
    with pytest.raises(ValueError, match="install a newer geqlib, or export the program again"):
        GeqCalculator(tmp_path / "later.pt2", trusted=True)


def test_errors_of_the_command(tmp_path, capsys):
    assert main(["export", "nowhere.ckpt", "--out", str(tmp_path / "x")]) == 2
    assert "There is no checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_exported_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "water.geqlib"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="is a file of `geqlib export`, which holds neither data"):
        read_checkpoint(path)


def molecule(nodes: int, *, periodic: bool = False) -> Atoms:
    pos, z, cell = system(nodes, periodic=periodic)
    return Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=periodic)


def quiet() -> warnings.catch_warnings:
    """Torch warns of itself while it traces."""
    return warnings.catch_warnings(action="ignore")


@pytest.fixture(scope="module")
def program(exported, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("program") / "potential.pt2"
    with quiet():
        assert main(["export", str(exported[1]), "--out", str(out), "--format", "torch"]) == 0
    return out


SYSTEMS = ((8, True), (3, False), (1, False))  # others than the program was traced with


def assert_same(actual: dict, expected: dict, rounding: float = 1e-12) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(actual[name], value, rtol=0, atol=rounding * scale)


@pytest.mark.slow
def test_a_program_with_slots_serves_other_sizes():
    torch.manual_seed(0)
    net = GauntNet(["H", "C", "O"], channels=2, degree=1, order=2, cutoff=CUTOFF)
    potential = Potential(net).double()
    with quiet():
        program = forces_program(potential).module()
    for nodes, periodic in SYSTEMS:
        pos, z, cell = system(nodes, periodic=periodic)
        inputs = program_inputs(potential, pos, z, cell=cell)
        assert_same(program(**inputs), energy_forces(potential, **inputs_of(pos, z, cell)))


def inputs_of(pos: torch.Tensor, z: torch.Tensor, cell: torch.Tensor) -> dict:
    return fields(pos, z, cell[None]) | {"stress": True}


@pytest.mark.slow
@pytest.mark.parametrize("space", ["R3xS2", "SE3"])
def test_an_energy_can_be_differentiated(space):
    potential = ponita(space=space, orientations=4, layers=1)
    with quiet():
        program = energy_program(potential).module()
    pos, z, cell = system(6, periodic=True)
    inputs = program_inputs(potential, pos.requires_grad_(), z, cell=cell)
    total, atoms = program(**inputs)
    (slope,) = torch.autograd.grad(total.sum(), pos)
    expected = energy_forces(potential, **fields(pos.detach(), z, cell[None]))
    actual = {"energy": total.detach(), "energies": atoms.detach(), "forces": -slope}
    assert_same(actual, expected)
    assert all(p.requires_grad for p in potential.parameters())


def test_plans_are_those_of_the_network():
    pos, _, cell = system(6, periodic=True)
    near = neighbor_list(pos, CUTOFF, cell=cell[None])
    for potential, kind in ((ponita(), "paired"), (ponita(space="SE3"), "directed")):
        own = potential.model.plan(near.edge_index, 6, reverse=near.reverse)
        for name, value in plan_tensors(kind, near.edge_index, 6, near.reverse).items():
            assert torch.equal(value, getattr(own, name))
    assert plan_tensors("none", near.edge_index, 6, near.reverse) == {}


@pytest.mark.slow
def test_a_network_whose_code_depends_on_the_size():
    # `len` of a tensor is a number, which the trace would keep
    with quiet(), pytest.raises(ValueError, match="cannot export Pairs for all sizes"):
        energy_program(pairs())


@pytest.mark.slow
def test_calculators_run_programs(exported, program):
    with pytest.warns(UserWarning, match=r"up to 2.5 angstrom, .* its network is 3.0"):
        calculators = GeqCalculator(exported[0]), GeqCalculator(program, trusted=True)
    assert all(c.cutoff == 2.5 and c.dtype == torch.float32 for c in calculators)
    for nodes, periodic in SYSTEMS:
        actual = [results(c, molecule(nodes, periodic=periodic)) for c in calculators]
        for one, other in zip(*actual, strict=True):
            # float32: the same operations, fused or not
            scale = max(1, np.abs(one).max())
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * scale)
    notes = read_notes(program)
    assert notes["elements"] == [1, 6, 8] and notes["cutoff"] == 2.5 and notes["plan"] == "paired"
    with pytest.raises(ValueError, match="atom 1 is F, which the training data never showed"):
        results(calculators[1], Atoms("HF", [[0, 0, 0], [0, 0, 0.9]]))


def results(calculator: GeqCalculator, atoms: Atoms) -> list[np.ndarray]:
    """Energies, forces and, in a crystal, stress."""
    atoms.calc = calculator
    actual = [atoms.get_potential_energies(), atoms.get_forces()]
    return [*actual, atoms.get_stress()] if atoms.pbc.any() else actual


@pytest.mark.slow
def test_programs_need_trust_and_cannot_be_changed(program, tmp_path):
    for options, message in (
        ({}, "can run any code when it is read: pass trusted=True"),
        ({"trusted": True, "dtype": torch.float64}, "computes in torch.float32, not in torch.floa"),
        ({"trusted": True, "rotations": 2}, "rotations=2 needs a checkpoint"),
        ({"trusted": True, "device": "meta"}, "runs on the CPU, not on meta"),
    ):
        with pytest.raises(ValueError, match=message):
            GeqCalculator(program, **options)
    with pytest.raises(ValueError, match="is a program, not a model"):
        geqlib.load(program)
    with pytest.raises(SystemExit):
        main(["export", "x.ckpt", "--out", str(tmp_path / "x"), "--dtype", "float64"])


class Payload:
    """What a stranger's file would do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def with_payload(program: Path, path: Path, marker: Path) -> Path:
    """The program with a weight that is pickled, as torch writes some itself."""
    buffer = io.BytesIO()
    torch.save(Payload(marker), buffer)
    with ZipFile(program) as source:
        content = {name: source.read(name) for name in source.namelist()}
    name = next(name for name in content if name.endswith("weights_config.json"))
    config = json.loads(content[name])
    weight = next(iter(config["config"].values()))
    weight["use_pickle"] = True
    content[name] = json.dumps(config).encode()
    content[name.replace(Path(name).name, weight["path_name"])] = buffer.getvalue()
    with ZipFile(path, "w", ZIP_STORED) as target:
        for name, value in content.items():
            target.writestr(name, value)
    return path


@pytest.mark.slow
def test_nothing_of_a_stranger_runs_without_trust(program, tmp_path, capsys):
    marker = tmp_path / "ran"
    strange = with_payload(program, tmp_path / "strange.pt2", marker)
    assert is_program(strange) and read_notes(strange)["plan"] == "paired"
    for read in (GeqCalculator, geqlib.load):
        with pytest.raises(ValueError, match=r"is a program"):
            read(strange)
    write(tmp_path / "water.xyz", molecule(3))
    end = ["--out", str(tmp_path / "end.xyz")]
    steps = ["--out", str(tmp_path / "steps.traj"), "--steps", "1"]
    for command, options in (("md", steps), ("relax", end)):
        assert main([command, str(strange), str(tmp_path / "water.xyz"), *options])
        assert "geqlib export --format geqlib" in " ".join(capsys.readouterr().err.split())
    assert not marker.exists()
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match="cannot read"):
        GeqCalculator(strange, trusted=True)
    assert marker.exists()  # so the warning is no idle one


@pytest.mark.slow
def test_damaged_programs(program, tmp_path):
    path, whole = tmp_path / "bad.pt2", program.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="damaged, or no program of `geqlib export`"):
        GeqCalculator(path, trusted=True)
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="truncated or damaged"):
        GeqCalculator(path, trusted=True)
    with quiet():
        torch.export.save(energy_program(Potential(Charges())), path)
    with pytest.raises(ValueError, match="no program of `geqlib export`"):
        GeqCalculator(path, trusted=True)


class Charges(nn.Module):
    """A small network, which a compiler is done with soon."""

    in_scalars, cutoff = 2, CUTOFF

    def forward(self, pos, edge_index, x, edge_shift=None):
        source, target = edge_index
        offset = pos.index_select(0, source) - pos.index_select(0, target)
        offset = offset if edge_shift is None else offset + edge_shift
        near = (-offset.square().sum(1, keepdim=True)).exp()
        message = near * x.index_select(0, source) * x.index_select(0, target)
        return torch.zeros_like(x).index_add(0, target, message).sum(1, keepdim=True)


@pytest.mark.slow
def test_potentials_that_make_no_program(tmp_path, monkeypatch):
    class Strange(Charges):
        def plan(self, edge_index, num_nodes, reverse):
            return edge_index

    def no_compiler(program, **options):
        raise RuntimeError("no working C++ compiler found")

    out, strange, small = tmp_path / "x.pt2", Potential(Strange()), Potential(Charges())
    with pytest.raises(ValueError, match=r"Strange\.plan makes neither an EdgePlan nor"):
        export_program(strange, out)
    with pytest.raises(ValueError, match=r"float32 or float64, not in torch\.bfloat16"):
        export_program(small, out, dtype=torch.bfloat16)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", no_compiler)
    with quiet(), pytest.raises(ValueError, match="install a C\\+\\+ compiler"):
        export_program(small, out, compiled=True)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
def test_calculators_run_compiled_programs(tmp_path):
    torch.manual_seed(0)
    potential, out = Potential(Charges()), tmp_path / "charges.pt2"
    seen = torch.arange(119) < 9
    potential.statistics.set(torch.linspace(-1e4, 0, 119).double(), seen, 2.5, 0.5)
    with quiet():
        export_program(potential, out, compiled=True, dtype=torch.float64)
    out = out.rename(tmp_path / "renamed.pt2")
    assert read_notes(out)["plan"] == "none"
    calculators = (
        GeqCalculator(potential, dtype=torch.float64),
        GeqCalculator(out, trusted=True),
    )
    for nodes, periodic in SYSTEMS:
        actual = [results(c, molecule(nodes, periodic=periodic)) for c in calculators]
        for one, other in zip(*actual, strict=True):
            # sums may be taken in another order
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    notes = read_notes(out) | {"processor": "ABACUS"}
    foreign = tmp_path / "foreign.pt2"
    with ZipFile(out) as source, ZipFile(foreign, "w") as target:
        for name in source.namelist():
            text = json.dumps(notes) if name.endswith("geqlib.json") else source.read(name)
            target.writestr(name, text)
    with pytest.raises(ValueError, match="compiled for processors with ABACUS, this one has"):
        GeqCalculator(foreign, trusted=True)


def test_the_table_has_every_model():
    rows = {row.labels[0].strip("`") for row in read_result("accuracy/export").tables[0].rows}
    actual = {name: getattr(geqlib.models, name) for name in geqlib.models.__all__}
    modules = {k for k, v in actual.items() if isinstance(v, type) and issubclass(v, nn.Module)}
    # a calibrated potential is exported as the potential that it is, one with forces of its own is
    # refused; those that draw random numbers or sets of their own are not measured, nor is
    # TransportNet yet
    others = {"Potential", "CalibratedPotential", "DirectPotential", "PARD", "EquiVSet"}
    others |= {"TransportNet"}
    assert modules - others <= rows
