"""State dicts of the first edition's layers and models load, and mean the same function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from geqlib import models
from geqlib import nn as layers
from tests.first_edition.instances import INSTANCES, results, weight
from tests.test_public_api import PUBLIC

FILES = Path(__file__).parent / "files"
KEYS: dict[str, dict[str, list[int] | str]] = json.loads((FILES / "states.json").read_text())
TENSORS = load_file(FILES / "states.safetensors")
# in float64, relative to the largest value: another order of sums, and coefficients by quadrature
ROUNDING = 1e-11
# of instances whose options exist no more: the sentence that says what to use
REMOVED: dict[str, str] = {
    "SE3 without loops": "self_loops=False is no longer an option",
}
# instances by old names of options, which say what they are called today
pytestmark = pytest.mark.filterwarnings("ignore:GauntConvolution. method:FutureWarning")
CURRENT = [name for name in KEYS if name not in REMOVED]

# layers and models that the first edition did not have
LATER = {
    "CalibratedPotential",
    "DPA3",
    "DirectPotential",
    "EScAIP",
    "EdgePONITA",
    "EquiVSet",
    "FrameTransport",
    "GaussianCharges",
    "LocalFrames",
    "NeighborhoodAttention",
    "PARD",
    "PPGNpp",
    "SoftOrder",
    "TransportNet",
}


def old_state(name: str) -> dict[str, Tensor]:
    return {
        key: TENSORS[f"{name}/{key}"] if isinstance(shape, str) else weight(key, tuple(shape))
        for key, shape in KEYS[name].items()
    }


def old_outputs(name: str) -> dict[str, Tensor]:
    start = f"{name}/out."
    return {k.removeprefix(start): v for k, v in TENSORS.items() if k.startswith(start)}


@pytest.mark.parametrize("name", CURRENT)
def test_old_states_load_and_give_the_old_outputs(name: str) -> None:
    module, state = INSTANCES[name].build(), old_state(name)
    module.load_state_dict({key: value.clone() for key, value in state.items()})
    for key, value in module.state_dict().items():
        if key in state and not key.endswith("_extra_state"):
            assert torch.equal(value, state[key].to(value.dtype)), key
    outputs, expected = results(name, module), old_outputs(name)
    assert outputs.keys() == expected.keys()
    for key, value in expected.items():
        error, scale = (outputs[key] - value).abs().max(), value.abs().max()
        assert outputs[key].shape == value.shape
        # what cancels to zero is the rounding of numbers of order 1
        floor = torch.finfo(value.dtype).eps if value.is_floating_point() else 0
        assert error <= ROUNDING * scale + floor, f"output {key}: {error:.1e} of {scale:.1e}"


@pytest.mark.parametrize("name", CURRENT)
def test_states_have_no_fewer_parameters(name: str) -> None:
    """What can be learnt is the same, whatever it is called."""
    count = sum(torch.Size(shape).numel() for shape in KEYS[name].values() if shape != "stored")
    assert sum(p.numel() for p in INSTANCES[name].build().parameters()) == count


@pytest.mark.parametrize("name", REMOVED)
def test_what_was_removed_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        results(name, INSTANCES[name].build())
    assert REMOVED[name] in str(raised.value)


@pytest.mark.parametrize("name", CURRENT)
def test_outputs_depend_on_the_weights(name: str) -> None:
    """The first test would pass on weights that go nowhere."""
    if not any(p.requires_grad for p in INSTANCES[name].build().parameters()):
        return
    module = INSTANCES[name].build()
    for value in module.parameters():
        nn.init.constant_(value, 0.37)
    outputs, expected = results(name, module), old_outputs(name)
    assert any((outputs[key] - value).abs().max() > 1e-3 for key, value in expected.items())


def test_every_layer_and_model_has_an_instance() -> None:
    shown = {kind for instance in INSTANCES.values() for kind in instance.kinds}
    for package, library in (("geqlib.nn", layers), ("geqlib.models", models)):
        for name in PUBLIC[package].split():
            kind = getattr(library, name)
            if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in LATER:
                assert kind in shown, name
    assert REMOVED.keys() <= KEYS.keys() == INSTANCES.keys()
