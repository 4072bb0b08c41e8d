"""Equivariant graph neural networks: layers, models and benchmarks that reproduce."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from geqlib.moved import install as _serve_old_import_paths

if TYPE_CHECKING:
    from geqlib.files.checkpoint import load
    from geqlib.train.predictor import load_predictor

_serve_old_import_paths()
# e3nn compiles functions when it is imported, and who imports geqlib cannot act on that
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_predictor"]


def __getattr__(name: str) -> Any:
    # these need the models; importing geqlib should cost nothing that is not used
    if name == "load":
        from geqlib.files.checkpoint import load

        return load
    if name == "load_predictor":
        from geqlib.train.predictor import load_predictor

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
