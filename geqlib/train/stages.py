"""The stages of a run, each made once: fit, test, predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def complete(
    folder: Path,
    arguments: Sequence[str],
    *,
    seed: int,
    checkpoint: Literal["best", "last"] = "best",
    predict: bool = False,
) -> int:
    """Make what is missing of a run; one that was cut off goes on from its last epoch.

    Args:
        folder: of the run.
        arguments: of every `geqlib` command: `--config=...` and changes to it.
        seed: of everything that is random.
        checkpoint: which one is tested.
        predict: whether there are predictions, too.

    Returns:
        the exit code of the first command that failed, else 0.
    """
    from geqlib.cli import main as geqlib

    common = [
        *arguments,
        f"--seed_everything={seed}",
        f"--trainer.default_root_dir={folder}",
        "--trainer.enable_progress_bar=false",
    ]
    checkpoints = folder / "checkpoints"
    last, tested = checkpoints / "last.ckpt", checkpoints / f"{checkpoint}.ckpt"
    stages = {
        "fit.json": ["fit", *common, *([f"--ckpt_path={last}"] if last.exists() else [])],
        "results.json": ["test", *common, f"--ckpt_path={tested}"],
    }
    if predict:
        stages["predictions.safetensors"] = ["predict", *common, f"--ckpt_path={tested}"]
    missing = (command for made, command in stages.items() if not (folder / made).exists())
    return next((code for command in missing if (code := geqlib(command))), 0)
