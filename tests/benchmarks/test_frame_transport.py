"""The benchmark of frame transport: the methods that it compares have the same messages."""

from __future__ import annotations

import pytest
import torch

from benchmarks.speed import frame_transport


@pytest.mark.parametrize("degree", [1, 3])
def test_methods_have_the_same_messages(degree: int) -> None:
    ours, *others = (
        frame_transport.step(degree, name, nodes=6)() for name in frame_transport.METHODS[:3]
    )
    for other in others:  # e3nn goes by angles, in single precision
        torch.testing.assert_close(other, ours, atol=2e-3, rtol=0)
    product = frame_transport.step(degree, frame_transport.PRODUCT, nodes=6)()
    assert product.shape == ours.shape and product.isfinite().all()


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_transport, "NODES", 4)
    monkeypatch.setattr(frame_transport, "ROUNDS", 1)
    monkeypatch.setattr(frame_transport, "in_own_process", lambda *_: 2.0)
    rows = frame_transport.rows_of(1)
    assert [row.labels[1] for row in rows] == list(frame_transport.METHODS)
    assert [row.origin for row in rows] == ["geqlib", "peer", "peer", "peer"]
    assert all(row.number("seconds") > 0 and row.number("memory") == 2.0 for row in rows)
