"""`geqlib check --structures`: a table and an exit code."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from geqlib.cli.check import read_structures
from geqlib.cli.main import main


@pytest.fixture
def structures(tmp_path):
    file = tmp_path / "some.xyz"
    write(file, [bulk("Cu", cubic=True), molecule("H2O")])
    return str(file)


@pytest.mark.slow
def test_a_calculator_by_its_name(structures, capsys):
    arguments = ["--calculator", "ase.calculators.emt:EMT", "--structures", f"{structures}@0:1"]
    assert main(["check", *arguments]) == 0
    out = capsys.readouterr().out
    assert "Checks of ase.calculators.emt:EMT" in out and "passed" in out and "FAILED" not in out


@pytest.mark.slow
def test_a_module_of_the_working_directory_that_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_mine.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\n"
        "def hard():\n    return LennardJones(sigma=2.3, epsilon=0.4)\n\n\n"
        "ready = hard()\nnumber = int\n"
    )
    write("pair.xyz", Atoms("Ar2", [[0, 0, 0], [0, 0, 2.6]]))
    for name in ("hard", "ready"):
        assert main(["check", "--calculator", f"of_mine:{name}", "--structures", "pair.xyz"]) == 1
        assert "FAILED" in capsys.readouterr().out


def test_what_is_not_tested_is_no_pass(tmp_path, capsys):
    write(tmp_path / "atom.xyz", Atoms("Cu"))
    words = ["check", "--calculator", "ase.calculators.emt:EMT", "--structures"]
    assert main([*words, str(tmp_path / "atom.xyz")]) == 1
    out = capsys.readouterr().out
    assert "NOT" in out and "FAILED" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--calculator", "ase.calculators.emt:EMT"], "needs --structures"),
        (["--structures", "FILE"], "needs a checkpoint or --calculator"),
        (["a.ckpt", "--calculator", "a:b", "--structures", "FILE"], "one of the two"),
        (["--calculator", "emt", "--structures", "FILE"], "is not MODULE:FUNCTION"),
        (["--calculator", "no.where:EMT", "--structures", "FILE"], "cannot be imported"),
        (["--calculator", "ase.build:None", "--structures", "FILE"], "cannot be imported"),
        (["--calculator", "builtins:dict", "--structures", "FILE"], "made a dict"),
        (["--calculator", "ase.calculators.emt:EMT", "--structures", "no.xyz"], "do not exist"),
        (["none.ckpt", "--structures", "FILE"], "There is no checkpoint"),
        (["a.ckpt", "--structures", "FILE", "--samples", "3"], "--samples is for symmetry errors"),
        (["a.ckpt", "--structures", "FILE", "--degree", "0"], "--degree is for symmetry errors"),
        (["a.ckpt", "--structures", "FILE", "--groups", "O(3)"], "--groups is for symmetry errors"),
        (["--calculator", "a:b", "--structures", "FILE", "--backend", "eager"], "--backend is for"),
        (["a.ckpt", "--cutoff", "5"], "--cutoff is for energies and forces"),
        (["a.ckpt", "--backend", "eager"], "--backend is for energies and forces"),
    ],
)
def test_what_is_refused(arguments, said, structures, capsys):
    arguments = [structures if word == "FILE" else word for word in arguments]
    assert main(["check", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_files_that_hold_no_structures(tmp_path, capsys):
    (tmp_path / "text.xyz").write_text("not a structure")
    arguments = ["--calculator", "ase.calculators.emt:EMT", "--structures", tmp_path / "text.xyz"]
    assert main(["check", *map(str, arguments)]) == 2
    assert "frame 0: expected a number of atoms" in capsys.readouterr().err
    (tmp_path / "text.cif").write_text("not a structure")
    arguments[-1] = tmp_path / "text.cif"
    assert main(["check", *map(str, arguments)]) == 2
    assert "cannot read structures" in capsys.readouterr().err
    (tmp_path / "stopped.traj").write_bytes(b"")
    arguments[-1] = tmp_path / "stopped.traj"
    assert main(["check", *map(str, arguments)]) == 2
    assert "stopped.traj is empty: expected structures." in capsys.readouterr().err
    arguments[-1] = tmp_path
    assert main(["check", *map(str, arguments)]) == 2
    assert "is a folder: name a file of structures" in capsys.readouterr().err
    (tmp_path / "nan.xyz").write_text("1\n\nH 0 0 nan\n")
    with pytest.raises(ValueError, match=r"structure 0 of .*nan\.xyz .* not finite: correct it"):
        read_structures(str(tmp_path / "nan.xyz"))
    write(tmp_path / "heavy.traj", Atoms([1, 119], [[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match=r"structure 0 of .*: atom 1 has the atomic number 119"):
        read_structures(str(tmp_path / "heavy.traj"))


@pytest.mark.parametrize("name", ["needs", "number", "broken"])
def test_what_makes_no_calculator_is_named(name, tmp_path, monkeypatch, capsys):
    """A function with an argument, something else than a function, and one that raises."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"own_{name}.py").write_text(
        "def needs(x): return x\nnumber = 3\ndef broken(): raise RuntimeError('no licence')\n"
    )
    write("one.xyz", bulk("Cu"))
    assert main(["check", "--calculator", f"own_{name}:{name}", "--structures", "one.xyz"]) == 2
    assert "cannot be called without arguments" in capsys.readouterr().err


def test_what_a_calculator_cannot_calculate_is_named(tmp_path, capsys):
    """EMT has no silicon."""
    write(tmp_path / "si.xyz", bulk("Si"))
    words = ["check", "--calculator", "ase.calculators.emt:EMT", "--structures"]
    assert main([*words, str(tmp_path / "si.xyz")]) == 2
    assert "EMT cannot calculate" in capsys.readouterr().err
