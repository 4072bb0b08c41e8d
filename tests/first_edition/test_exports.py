"""Exported potentials of the first edition compute the same energies, forces and stress."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import geqlib
from tests.first_edition import checkpoints, commands

FILES = Path(__file__).parent / "files"
# in float64, of the largest component; energies of atoms are sums of some hundred terms
ROUNDING = 1e-11
NAMES = ("ponita_potential", "gaunt_potential")


@pytest.mark.parametrize("name", NAMES)
def test_the_calculator_computes_the_same(name: str) -> None:
    path = FILES / "exports" / f"{name}.geqlib"
    expected = load_file(FILES / "exports" / "computed.safetensors")
    count = 0
    for number, values in checkpoints.computed(path, FILES / "atoms.xyz").items():
        for key, value in values.items():
            known = expected[f"{name}.{number}.{key}"]
            error, scale = (value - known).abs().max(), known.abs().max()
            assert error <= ROUNDING * scale, f"{key} of {number}: {error:.1e} of {scale:.1e}"
            count += 1
    assert count == sum(key.startswith(f"{name}.") for key in expected) == 7


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_exported_to_the_same_weights(name: str, tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "best.ckpt", tmp_path / "new.geqlib"
    checkpoint.write_bytes(
        lzma.decompress((FILES / "checkpoints" / f"{name}.ckpt.xz").read_bytes())
    )
    code, _, error = commands.run("export", checkpoint, "--out", out)
    assert code == 0, error
    new, old = (geqlib.load(path) for path in (out, FILES / "exports" / f"{name}.geqlib"))
    state = new.state_dict()
    for key, value in old.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    content = bytearray((FILES / "exports" / f"{name}.geqlib").read_bytes())
    content[-1] ^= 1
    path = tmp_path / "damaged.geqlib"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        geqlib.load(path)
