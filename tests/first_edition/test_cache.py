"""What the first edition left in the cache folder is read, or made again without a word."""

from __future__ import annotations

import shutil
import tarfile
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.first_edition import checkpoints
from tests.first_edition.configs import CACHED

FILES = Path(__file__).parent / "files"
# whose first test batch is the one that was stored with a model's outputs
STORED = {"nbody": "ponita", "surfaces": "pointnet", "tu": "gin"}


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("name", CACHED)
def test_the_data_are_those_of_the_first_edition(
    name: str, filled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without its files."""
    cache = tmp_path / "cache"
    if filled:
        shutil.copytree(FILES / "cache" / name, cache / name)
    monkeypatch.setenv("GEQLIB_CACHE", str(cache))
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    with tarfile.open(FILES / "graphs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(cache|damaged)")
        batch = checkpoints.first_batch(CACHED[name])
    tensors = load_file(FILES / "checkpoints" / f"{STORED[name]}.safetensors")
    inputs = {k.removeprefix("in."): v for k, v in tensors.items() if k.startswith("in.")}
    assert inputs.keys() > {"batch", "num_graphs"}
    for key, value in inputs.items():
        actual = torch.as_tensor(getattr(batch, key))
        # float32, of numbers that are themselves of float64
        torch.testing.assert_close(actual, value, rtol=1e-6, atol=1e-6, check_dtype=True)
