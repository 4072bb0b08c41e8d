"""Packages that only one part of the library needs, and how they are installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

ATOMS = ("ase", "safetensors", "vesin")
# extra -> modules that it installs
EXTRAS = {
    "train": ("jsonargparse", "lightning", "rich", "torchmetrics", "yaml", *ATOMS),
    "atoms": ATOMS,
    "report": ("matplotlib", "rich", "safetensors", "yaml"),
    "molecules": ("rdkit",),
    "folds": ("sklearn",),
    "clouds": ("plyfile",),
    "hdf5": ("h5py",),
    "tensorboard": ("tensorboard",),
    "torch-sim": ("torch_sim", *ATOMS),
}


def extra_module(name: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Args:
        name: of the module.
        extra: of geqlib that installs it.

    Raises:
        ValueError: if it is not installed, with the command that installs it.

    Example:
        >>> extra_module("sklearn_of_the_future", "folds")
        Traceback (most recent call last):
        ...
        ValueError: sklearn_of_the_future is missing: install it by pip install "geqlib[folds]".
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(_sentence(name.partition(".")[0], extra)) from error


def missing_package(error: ImportError, likely: Iterable[str] = ()) -> str | None:
    """The sentence on a package of one of the extras that an import did not find.

    Args:
        error: of the import.
        likely: extras to name first, if they install it.

    Returns:
        None if it is no such package.

    Example:
        >>> missing_package(ModuleNotFoundError(name="rich.table"), ["report"])
        'rich is missing: install it by pip install "geqlib[report]".'
    """
    package = (error.name or "").partition(".")[0]
    extra = next((e for e in [*likely, *EXTRAS] if package in EXTRAS[e]), None)
    return None if extra is None else _sentence(package, extra)


def _sentence(package: str, extra: str) -> str:
    return f'{package} is missing: install it by pip install "geqlib[{extra}]".'
