"""Checkpoints of the first edition's `geqlib fit` are still the models that they were."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import geqlib
from geqlib.nn import GauntTensorProduct
from tests.first_edition import checkpoints
from tests.first_edition.configs import CHECKPOINTS

FOLDER = Path(__file__).parent / "files" / "checkpoints"
# Errors relative to the largest value of an output. In float64 only the order of sums may differ,
# by some 1e-15 each; float32 has 6e-8 a number, and sums of some hundred of them, through a few
# layers, come to 1e-6 (the first edition's own errors: 3e-6 in forces of GauntNet, which are
# differences of larger terms, and below 7e-7 in all others).
ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-5}


def stored(name: str, folder: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """Path of the checkpoint, inputs and outputs."""
    path = folder / f"{name}.ckpt"
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.ckpt.xz").read_bytes()))
    tensors = load_file(FOLDER / f"{name}.safetensors")
    inputs: dict[str, Any] = {
        key.removeprefix("in."): value for key, value in tensors.items() if key.startswith("in.")
    }
    if "num_graphs" in inputs:
        inputs["num_graphs"] = int(inputs["num_graphs"])
    outputs = {k.removeprefix("out."): v for k, v in tensors.items() if k.startswith("out.")}
    return path, inputs, outputs


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_outputs(name: str, tmp_path: Path) -> None:
    path, inputs, expected = stored(name, tmp_path)
    for dtype, tolerance in ROUNDING.items():
        model = checkpoints.loaded(name, path)
        assert not model.training
        outputs = checkpoints.evaluate(model, inputs, dtype)
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            scale = float(value.abs().max()) if value.numel() else 1.0
            error = (outputs[key].double() - value).abs().max() if value.numel() else 0.0
            assert outputs[key].shape == value.shape
            assert error <= tolerance * scale, f"{key}: {error:.1e} of {scale:.1e} in {dtype}"


def test_outputs_depend_on_the_weights(tmp_path: Path) -> None:
    """The test above would pass on outputs that are constant, and on any weights."""
    for name in CHECKPOINTS:
        path, inputs, expected = stored(name, tmp_path)
        model = checkpoints.loaded(name, path)
        torch.manual_seed(0)
        model.reset_parameters() if hasattr(model, "reset_parameters") else None
        if name == "mixed":
            model.net.reset_parameters()
        outputs = checkpoints.evaluate(model, inputs)
        differences = [
            float((outputs[k] - v).abs().max()) for k, v in expected.items() if v.numel()
        ]
        assert max(differences) > 1e-6, name


def test_the_saved_choice_of_gaunt_products_is_in_the_file(tmp_path: Path) -> None:
    """It says "separable"; the layer computes the same function whatever it takes."""
    path, _, _ = stored("mixed", tmp_path)
    state = torch.load(path, weights_only=True)["state_dict"]
    choices = [key for key in state if key.endswith("_extra_state")]
    assert sorted(choices) == ["model.mix.product._extra_state", "model.product._extra_state"]
    assert all(state[key].dtype == torch.uint8 and int(state[key]) == 2 for key in choices)
    model = checkpoints.loaded("mixed", path)
    assert sum(isinstance(part, GauntTensorProduct) for part in model.modules()) == 2


def test_checkpoints_of_networks_of_a_users_own_need_them(tmp_path: Path) -> None:
    path, _, _ = stored("mixed", tmp_path)
    with pytest.raises(ValueError, match=r"load\(path, model=\.\.\.\)"):
        geqlib.load(path)
