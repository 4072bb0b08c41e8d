"""The method that "auto" takes: measured once, kept on the machine and in the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3

import geqlib
from geqlib.gaunt import choice as gaunt_choice
from geqlib.nn import GauntTensorProduct

IRREPS = "2x0e+2x1o+2x2e"
KEY = "_extra_state"  # of the state dict


def build(**options: Any) -> GauntTensorProduct:
    return GauntTensorProduct(IRREPS, IRREPS, IRREPS, **options)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """A machine on which one method is the fastest, and what was measured on it so far."""
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path))
    monkeypatch.delenv(gaunt_choice.VARIABLE, raising=False)
    measured: list[str] = []

    def start(best: str) -> list[str]:
        def fastest(irreps: Any, paths: str, methods: Any) -> str:
            measured.append(best)
            return best

        monkeypatch.setattr(gaunt_choice, "_found", {})
        monkeypatch.setattr(gaunt_choice, "fastest", fastest)
        return measured

    return start


def stored(folder: Path) -> dict[str, str]:
    return json.loads((folder / "gaunt_methods.json").read_text())


def test_a_key_is_measured_once(machine: Any, tmp_path: Path) -> None:
    measured = machine("separable")
    assert [build().method, build().method] == ["separable"] * 2
    assert len(measured) == 1 and list(stored(tmp_path).values()) == ["separable"]
    machine("sparse")  # another process, which finds the file
    assert build().method == "separable" and len(measured) == 1
    assert build(paths="all").method == "sparse" and len(measured) == 2
    assert sorted(stored(tmp_path).values()) == ["separable", "sparse"]


def test_channels_share_a_key_up_to_a_power_of_two(machine: Any) -> None:
    measured = machine("grid")
    for channels, times in ((5, 1), (8, 1), (9, 2)):
        irreps = f"{channels}x0e+{channels}x1o"
        GauntTensorProduct(irreps, irreps, irreps)
        assert len(measured) == times


@pytest.mark.parametrize("text", ["{", "[1]", "", '{"a": ', '"grid"', "\xff"])
def test_a_broken_file_is_measured_anew(machine: Any, tmp_path: Path, text: str) -> None:
    measured = machine("fft")
    (tmp_path / "gaunt_methods.json").write_bytes(text.encode("latin1"))
    assert build().method == "fft" and len(measured) == 1
    assert list(stored(tmp_path).values()) == ["fft"]


def test_an_unknown_method_in_the_file_is_measured_anew(machine: Any, tmp_path: Path) -> None:
    machine("grid")
    build()
    path = tmp_path / "gaunt_methods.json"
    path.write_text(path.read_text().replace('"grid"', '"dense"'))
    measured = machine("sparse")
    assert build().method == "sparse" and len(measured) == 2


def test_a_folder_that_cannot_be_written_is_left_alone(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "file" / "below"))
    machine("sparse")
    assert [build().method, build().method] == ["sparse"] * 2


def test_the_variable_and_the_argument_go_first(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = machine("grid")
    monkeypatch.setenv(gaunt_choice.VARIABLE, "fft")
    assert build().method == "fft" and build(method="sparse").method == "sparse"
    assert not measured
    monkeypatch.setenv(gaunt_choice.VARIABLE, "dense")
    with pytest.raises(ValueError, match="GEQLIB_GAUNT_METHOD='dense' is no method: set it to one"):
        build()


@pytest.mark.parametrize(("degree", "expected"), [(2, "grid"), (11, "separable")])
def test_nothing_is_measured_on_meta_tensors(machine: Any, degree: int, expected: str) -> None:
    irreps = f"{degree}{'eo'[degree % 2]}"
    measured = machine("fft")
    with torch.device("meta"):
        assert GauntTensorProduct("1x0e", irreps, irreps).method == expected
    assert not measured


@pytest.mark.parametrize(
    ("separable", "expected"),
    [([9.0, 9.0, 9.0, 3.0], "separable"), ([4.8], "grid"), ([6.0], "grid")],
    ids=["by its best time", "a tenth faster", "slower"],
)
def test_the_fastest_is_taken(separable: list[float], expected: str) -> None:
    seconds = {"GridFields": cycle([5.0, 7.0]), "SeparableFields": cycle(separable)}

    def measure(form: Any) -> Callable[[], float]:
        return seconds[type(form.maps[0][0]).__name__].__next__

    irreps = [o3.Irreps("1x0e+1x1o")] * 3
    found = gaunt_choice.fastest(irreps, "gaunt", ["grid", "separable"], measure)
    assert found == expected


def test_a_method_is_measured_on_this_machine() -> None:
    irreps = [o3.Irreps("4x0e+4x1o")] * 3
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = gaunt_choice.fastest(irreps, "gaunt", ["grid", "fft"])
    assert found == "grid"  # an FFT of every channel costs ten times as much
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loaded_model_computes_the_same_bits(machine: Any, tmp_path: Path) -> None:
    machine("separable")
    model = build(weights=2)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    machine("grid")
    (tmp_path / "gaunt_methods.json").unlink()
    other = build(weights=2)
    assert other.method == "grid"
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x, y = torch.randn(2, 20, 18)
    assert other.method == "separable" and torch.equal(other(x, y), model(x, y))
    assert "'separable'" in repr(other)


def test_a_method_by_name_stays(machine: Any) -> None:
    machine("separable")
    state = build().state_dict()
    layer = build(method="fft")
    layer.load_state_dict(state)
    assert layer.method == "fft" and layer.state_dict()[KEY] == 3


@pytest.mark.parametrize("change", ["none", "unknown", "wrong shape"])
def test_state_dicts_without_a_choice_keep_this_one(machine: Any, change: str) -> None:
    """Those of the first version have none."""
    machine("separable")
    layer = build(weights="degree")
    state = layer.state_dict()
    if change == "none":
        del state[KEY]
    else:
        state[KEY] = torch.tensor(9) if change == "unknown" else torch.zeros(2)
    layer.load_state_dict(state)
    assert layer.method == "separable" and layer.state_dict()[KEY] == 2


def test_geqlib_load_restores_the_choice(machine: Any, tmp_path: Path) -> None:
    machine("sparse")
    model = build(weights="degree")
    arguments = {f"irreps_{name}": IRREPS for name in ("in1", "in2", "out")}
    description = {
        "class_path": "geqlib.nn.GauntTensorProduct",
        "init_args": arguments | {"weights": "degree"},
    }
    content = {
        "state_dict": {f"model.{key}": value for key, value in model.state_dict().items()},
        "hyper_parameters": {"model": description},
    }
    torch.save(content, tmp_path / "last.ckpt")
    machine("grid")
    (tmp_path / "gaunt_methods.json").unlink()
    loaded: Any = geqlib.load(tmp_path / "last.ckpt")
    x, y = torch.randn(2, 7, 18)
    assert loaded.method == "sparse" and torch.equal(loaded(x, y), model(x, y))
