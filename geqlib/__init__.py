"""Equivariant graph neural networks: layers, models and benchmarks that reproduce."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from geqlib.extras import missing_package
from geqlib.moved import install as _serve_old_import_paths

if TYPE_CHECKING:
    from geqlib import calculators, data, graph, models, nn, report, testing, train  # noqa: F401
    from geqlib.files.checkpoint import load, trusting
    from geqlib.train.predictor import load_predictor

_serve_old_import_paths()
# e3nn compiles functions when it is imported, and who imports geqlib cannot act on that
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_predictor", "trusting"]


# parts that are imported when they are named
PARTS = ("calculators", "data", "graph", "models", "nn", "report", "testing", "train")


def __getattr__(name: str) -> Any:
    # these need the models; importing geqlib should cost nothing that is not used
    files = "geqlib.files.checkpoint"
    homes = {"load": files, "trusting": files, "load_predictor": "geqlib.train.predictor"}
    if name not in homes and name not in PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(homes.get(name, f"{__name__}.{name}"))
    except ImportError as error:
        needed = missing_package(
            error, ["atoms"] if name in ("load", "trusting", "calculators") else []
        )
        if needed is None:
            raise
        raise ImportError(f"geqlib.{name}: {needed}", name=error.name) from error
    return getattr(home, name) if name in homes else home


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *PARTS})
