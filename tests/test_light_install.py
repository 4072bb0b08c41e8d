"""What each extra brings: parts of the library and commands without the packages of the others."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from benchmarks.speed import install_size
from benchmarks.speed.install_size import packages, requirements
from geqlib import elements
from geqlib.extras import EXTRAS
from tests.train import tiny

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
NEVER = {"pytorch_lightning", "lightning_utilities", "pandas"}  # that come with others
ALL = {module for modules in EXTRAS.values() for module in modules} | NEVER


def without(missing: set[str], script: str) -> str:
    """What a script prints in an interpreter without some packages."""
    blocked = f"import sys; sys.modules |= dict.fromkeys({sorted(missing)!r})\n"
    command = [sys.executable, "-c", blocked + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_layers_need_no_extra() -> None:
    smoke = TOP / ".ci" / "smoke.py"
    script = f"""
import importlib.util, geqlib
geqlib.nn.FrameAveraging, geqlib.models.PONITA, geqlib.testing.equivariance_error
spec = importlib.util.spec_from_file_location("smoke", {str(smoke)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.layers()
for name in ("load", "load_predictor", "train", "calculators", "data"):
    try:
        getattr(geqlib, name)
    except ImportError as error:
        print(error)
import torch
from geqlib.graph import neighbor_list
try:
    neighbor_list(torch.zeros(1, 3), 1.0, cell=torch.eye(3)[None], pbc=torch.ones(1, 3).bool())
except ValueError as error:
    print(error)
"""
    lines = without(ALL, script).splitlines()
    extras = ["atoms", "train", "train", "atoms", "train", "atoms"]
    assert [line.rpartition("[")[2] for line in lines] == [f'{extra}]".' for extra in extras]


COMMANDS = {
    "new potential a.xyz": "train",
    "fit --config a.yaml": "train",
    "validate --config a.yaml": "train",
    "test runs/a": "train",
    "predict runs/a a.xyz": "train",
    "cv --config a.yaml": "train",
    "learning-curve --config a.yaml --sizes 3": "train",
    "sweep --config a.yaml --model.lr 1 2": "train",
    "check a.ckpt": "train",
    "motifs C6": "train",
    "report runs/a": "report",
    "export a.ckpt --out b": "atoms",
}


@pytest.mark.slow
def test_commands_name_their_extra() -> None:
    script = f"""
import contextlib, io
from geqlib.cli import main
for command in {list(COMMANDS)!r}:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(command.split())
    print(code, said.getvalue().strip())
assert main(["--help"]) == main(["--version"]) == 0
"""
    lines = without(ALL, script).splitlines()
    for line, extra in zip(lines, COMMANDS.values(), strict=False):
        assert line.startswith("2 geqlib: error: ") and line.endswith(f'"geqlib[{extra}]".'), line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light") / "run"
    assert tiny.geqlib(tiny.command("fit", folder, epochs=1)) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["atoms", "report"])
def test_an_extra_is_enough(extra: str, run: Path) -> None:
    """ASE brings matplotlib, too."""
    best, out = str(run / "checkpoints" / "best.ckpt"), str(run / "out.geqlib")
    command = {"atoms": ["export", best, "--out", out], "report": ["report", str(run)]}[extra]
    page = str(run / "report")
    command += ["--out", page] if extra == "report" else []
    script = f"""
from geqlib.cli import main
assert main({command!r}) == 0
"""
    if extra == "atoms":
        script += f"""
import geqlib
geqlib.load({best!r}), geqlib.load({out!r}), geqlib.calculators.GeqCalculator
"""
    assert "wrote" in without(ALL - {*EXTRAS[extra], "matplotlib"}, script)


def test_extras_are_those_of_the_project() -> None:
    """Module by module; `train` needs `atoms`."""
    names = packages_distributions()
    for extra, modules in EXTRAS.items():
        listed = {
            Requirement(x).name for x in requirements({**PROJECT, "dependencies": []}, [extra])
        }
        own = {names[module][0].lower() for module in modules if module in names}
        missing = {module for module in modules if module not in names}
        assert own <= {name.lower() for name in listed}
        assert len(listed) == len(own) + len(missing), extra
    everything = requirements(PROJECT, ["all"])
    # torch-sim brings gigabytes, and asks for a newer Python
    each = {t for e in EXTRAS if e != "torch-sim" for t in requirements(PROJECT, [e])}
    assert set(everything) == each


def test_layers_install_no_more_than_torch_and_its_kin() -> None:
    base = packages(["torch", "torch-geometric", "e3nn"])
    assert not packages(PROJECT["dependencies"]) - base
    assert "lightning" in packages(requirements(PROJECT, ["train"])) - base


def test_layers_take_less_than_the_bar() -> None:
    rows = {extra: install_size.installation(extra) for extra in install_size.EXTRAS}
    own = rows[""]
    assert 1 < own.number("megabytes") < install_size.BAR and own.cells["packages"] == 0
    train = rows["train"]
    assert train.cells["packages"] > rows["atoms"].cells["packages"] > 0
    assert train.number("megabytes") > rows["atoms"].number("megabytes") > own.number("megabytes")
    assert own.cells["largest"] == "geqlib"


def test_sizes_of_packages_are_those_of_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "some-1.0.dist-info"
    info.mkdir()
    (tmp_path / "some.py").write_bytes(bytes(3000))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    (info / "RECORD").write_text("some.py,,\nsome-1.0.dist-info/RECORD,,\ngone.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    record = (info / "RECORD").stat().st_size
    assert install_size.size("some") == pytest.approx((3000 + record) / 1e6)


def test_elements_are_those_of_ase() -> None:
    data = pytest.importorskip("ase.data")
    assert elements.chemical_symbols == list(data.chemical_symbols)
    assert elements.atomic_numbers == data.atomic_numbers
    assert np.array_equal(elements.covalent_radii[1:97], data.covalent_radii[1:97])


def test_types_are_declared() -> None:
    assert (TOP / "geqlib" / "py.typed").exists()
