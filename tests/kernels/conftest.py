"""Where fused kernels run in tests: on a GPU if there is one, else in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch

from geqlib.kernels import selection, watch


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which kernels are chosen."""
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if torch.cuda.is_available():
        return "cuda"
    monkeypatch.setattr(selection, "DEVICES", {"cpu"})
    return "cpu"


@pytest.fixture
def only_fused(device: str) -> Iterator[str]:
    """The device, and the test fails if an operator takes its twin outside of `plain`."""
    with watch() as choices:
        yield device
    assert {reason for _, reason in choices} - {"switched off"} == {"fused"}
