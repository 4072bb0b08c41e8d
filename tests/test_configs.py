"""Every configuration of the repository trains: two steps each."""

from pathlib import Path

import pytest

from geqlib.cli import main

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
SMALL = {"NBodyData": ["train=8", "val=4", "test=4", "input_frame=0", "target_frame=1"]}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_two_steps(config, tmp_path, monkeypatch):
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(Path(__file__).parents[1])
    text = config.read_text()
    small = next((options for name, options in SMALL.items() if name in text), [])
    arguments = [f"--data.init_args.{option}" for option in [*small, "batch_size=4"]]
    arguments += [
        f"--trainer.default_root_dir={tmp_path / 'run'}",
        "--trainer.max_epochs=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.enable_progress_bar=false",
    ]
    assert main(["fit", f"--config={config}", *arguments]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_configurations_are_short():
    assert CONFIGS
    for config in CONFIGS:
        assert len(config.read_text().splitlines()) < 40, config.name
