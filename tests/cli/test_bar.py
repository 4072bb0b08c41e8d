"""Bars and signs of life are for terminals alone, and on standard error."""

from __future__ import annotations

import pytest

from geqlib.cli.bar import bar, waiting


@pytest.mark.parametrize("terminal", [False, True])
def test_only_terminals_see_bars(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes any stream for a terminal
    assert list(bar("graphs")(range(3))) == [0, 1, 2]
    with waiting("compiling"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert ("graphs" in err and "compiling" in err) == terminal
    assert terminal or err == ""
