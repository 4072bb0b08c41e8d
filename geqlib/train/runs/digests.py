"""Digests of what results depend on: graphs and code."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

import geqlib

# parts of the package on which no result depends
NO_RESULTS = ("cli", "report")
LIBRARIES = ("geqlib", "torch", "torch_geometric", "torchmetrics", "lightning", "e3nn", "builtins")
# of a test set, however it is prepared for a model
CONTENT = ("nodes", "pos", "z", "y", "y_node", "y_graph", "normal", "energy", "index")


def data_digest(data: L.LightningDataModule) -> str | None:
    """SHA-256 of all graphs of a data module; None if they have no digest.

    Numbers are compared as float32, in which they are read by default.
    """
    data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
    splits: Mapping[str, Any] = getattr(data, "splits", {})
    digests = {name: graphs_digest(split) for name, split in sorted(splits.items())}
    if not digests or None in digests.values():
        return None
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def graphs_digest(graphs: Any, names: Iterable[str] | None = None) -> str | None:
    """SHA-256 of a packed data set, or of some of its arrays; None of other data sets."""
    packed = getattr(graphs, "graphs", graphs)  # those with ego nets hold the graphs
    if hasattr(packed, "to_arrays"):
        arrays = packed.to_arrays()
    elif hasattr(packed, "paths") and hasattr(packed, "start"):  # of frames on the disk
        sizes = [path.stat().st_size for path in packed.paths]
        arrays = {"sizes": np.array(sizes)}
        arrays |= {k: getattr(packed, k).numpy() for k in ("file", "start", "stop", "index")}
    else:
        return None
    sha = hashlib.sha256()
    for name in sorted(arrays):
        if names is None or name in names:
            array = np.ascontiguousarray(arrays[name])
            array = array.astype(np.float32) if array.dtype.kind == "f" else array
            sha.update(f"{name} {array.dtype.kind} {array.shape}\n".encode())
            sha.update(array.tobytes())
    return sha.hexdigest()


def code_digest(classes: Iterable[type]) -> str:
    """SHA-256 of the code of this package that results depend on, and of a user's own classes."""
    own = [cls for cls in classes if cls.__module__.partition(".")[0] not in LIBRARIES]
    sha = hashlib.sha256(_package_digest().encode())
    for path in sorted({inspect.getfile(cls) for cls in own}):
        sha.update(Path(path).read_bytes())
    return sha.hexdigest()


@cache
def _package_digest() -> str:
    top, sha = Path(geqlib.__file__).parent, hashlib.sha256()
    for path in sorted(top.rglob("*.py")):
        name = path.relative_to(top)
        if name.parts[0] not in NO_RESULTS:
            sha.update(f"{name}\n".encode() + path.read_bytes())
    return sha.hexdigest()


def test_set_digest(data: Any) -> str | None:
    """SHA-256 of what a data module tests on, whatever its options make of it; None if unknown."""
    split = getattr(data, "splits", {}).get("test")
    packed = getattr(split, "graphs", split)
    names = CONTENT if "pos" in getattr(packed, "arrays", {}) else (*CONTENT, "edge_index")
    return None if packed is None else graphs_digest(packed, names)
