"""Training runs of benchmarks: what their results hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training


@pytest.mark.parametrize("tested", [None, {"data.init_args.test_rotation": "random"}])
def test_results_hold_the_training(
    tested: dict[str, object] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a test that has a folder of its own, in which nothing was trained."""
    folder = tmp_path / "run"

    def fitted(folder: Path, *_: object) -> None:
        folder.mkdir()
        (folder / "fit.json").write_text('{"parameters": 5}')

    def tests(*arguments: str) -> None:
        root = next(a.partition("=")[2] for a in arguments if "default_root_dir" in a)
        Path(root).mkdir(exist_ok=True)
        results = {"metrics": {"test/loss": 1.0}, "fit": {}}
        Path(root, "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(training, "fitted", fitted)
    monkeypatch.setattr(training, "_geqlib", tests)
    first = training.trained(folder, Path("unused.yaml"), {}, 0, tested)
    assert first["metrics"] == {"test/loss": 1.0} and first["fit"] == {"parameters": 5}
    monkeypatch.setattr(training, "_geqlib", None)  # what is finished is read
    assert training.trained(folder, Path("unused.yaml"), {}, 0, tested) == first
