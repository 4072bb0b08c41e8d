"""Importing geqlib costs nothing that is not used."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import geqlib

# modules that import a package which not every environment has
NEEDS = {"_triton": "triton", ".torch_sim": "torch_sim"}
HEAVY = ("lightning", "matplotlib", "torch_geometric", "e3nn", "sklearn", "tensorboard")


def loaded(statement):
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light():
    actual = loaded("import geqlib")
    assert "geqlib" in actual and not actual & set(HEAVY)


@pytest.mark.slow
def test_import_shows_no_warning():
    """Neither of geqlib nor of what it depends on."""
    command = [sys.executable, "-c", "import geqlib.calculators, geqlib.models, geqlib.train"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nope"]])
def test_command_line_answers_without_loading_anything(arguments):
    actual = loaded(
        f"import os, geqlib.cli as c; o = sys.stdout; sys.stdout = open(os.devnull, 'w')\n"
        f"c.main({arguments!r}); sys.stdout.close(); sys.stdout = o"
    )
    assert not actual & {*HEAVY, "torch"}


# package -> the name that it is installed by
OPTIONAL = {
    "matplotlib": "matplotlib",
    "rdkit": "rdkit",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
}
SCRIPT = """
import sys
from importlib.metadata import Distribution, PackageNotFoundError
sys.modules |= dict.fromkeys({optional})
installed = Distribution.from_name
def from_name(name):
    if name in {optional}.values():  # torchmetrics asks for versions
        raise PackageNotFoundError(name)
    return installed(name)
Distribution.from_name = from_name
from importlib import import_module
for name in ("nn", "models", "graph", "data", "train", "train.run", "train.runs.sweep",
             "testing",
             "calculators", "files.export", "cli.main", "cli.check"):
    import_module("geqlib." + name)
try:
    import_module("geqlib.data").DigitsData().setup()
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_optional_packages_are_named_where_they_are_needed():
    script = SCRIPT.format(optional=OPTIONAL)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == 'sklearn is missing: install it by pip install "geqlib[folds]".\n'


def modules():
    yield geqlib
    for info in pkgutil.walk_packages(geqlib.__path__, "geqlib."):
        needed = [package for ending, package in NEEDS.items() if info.name.endswith(ending)]
        if not info.name.endswith("__main__") and all(map(find_spec, needed)):
            yield importlib.import_module(info.name)


def test_public_names_resolve():
    assert {"__version__", "load"} <= set(geqlib.__all__)
    for module in modules():
        names = getattr(module, "__all__", ())
        assert len(set(names)) == len(names)
        for name in names:
            assert getattr(module, name) is not None, f"{module.__name__}.{name}"


def test_public_functions():
    from geqlib.files.checkpoint import load

    assert geqlib.load is load
    assert geqlib.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="module 'geqlib' has no attribute 'nope'"):
        geqlib.nope  # noqa: B018
