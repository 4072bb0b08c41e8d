"""MACE's command in miniature: its schedule ends with its epochs, its minutes are CPU minutes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase import Atoms

from benchmarks.peers import mace

COMMAND = r"""#!/bin/sh
echo "$@" > arguments.txt
echo "threads $OMP_NUM_THREADS"
echo "Initial: loss=9"
for epoch in 0 1 2 3; do
    echo "Epoch $epoch: loss=1, RMSE_E_per_atom= 1.0 meV, RMSE_F=   $epoch.5 meV / A"
done
echo "| 300K_Default |  1.5 | 2.5 | 3 |"
"""

# the validation error of an epoch grows with the digits of the learning rate's factor
ERROR_BY_DECAY = r"""#!/bin/sh
error() {
    factor=$(echo "$@ $ARGUMENTS" | sed 's/.*gamma=0*\(1*\)\.\([0-9][0-9]\).*/\1\2/')
    echo "$factor.5"
}
ARGUMENTS="$*"
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mace_run_train"
    file.write_text(COMMAND)
    file.chmod(0o755)
    monkeypatch.setattr(mace, "BIN", tmp_path)
    return file


def splits() -> dict[str, list[Atoms]]:
    return {part: [Atoms("H")] for part in ("train", "val", "test")}


@pytest.mark.parametrize("decay", mace.DECAYS)
def test_the_learning_rate_ends_with_the_epochs(command, tmp_path, decay):
    run = mace.train(tmp_path / "run", splits(), {1: -13.6}, 20, decay)
    options = dict(re.findall(r"--(\w+)=(\S+)", (tmp_path / "run" / "arguments.txt").read_text()))
    assert options["scheduler"] == "ExponentialLR" and options["max_num_epochs"] == "20"
    assert float(options["lr_scheduler_gamma"]) ** 20 == pytest.approx(decay, rel=1e-3)
    assert "ema_decay" in options and "scheduler_patience" not in options
    assert [force for _, force in run["curve"]] == [0.5, 1.5, 2.5, 3.5]
    assert run["test"] == {"300K": [1.5, 2.5]}
    assert "threads 1" in (tmp_path / "run" / "train.log").read_text()


def test_a_finished_run_is_read(command, tmp_path):
    run = mace.train(tmp_path / "run", splits(), {1: -13.6}, 20, 0.1)
    command.write_text("#!/bin/sh\nexit 1\n")
    assert mace.train(tmp_path / "run", splits(), {1: -13.6}, 20, 0.1) == run
    with pytest.raises(ValueError, match=r"MACE failed: .*train.log says why"):
        mace.train(tmp_path / "other", splits(), {1: -13.6}, 20, 0.1)


def test_the_decay_of_least_validation_error_is_taken(command, tmp_path):
    """The stub's errors grow with the learning rate at the end: the smallest decay is best."""
    command.write_text(
        COMMAND.replace("$epoch.5 meV", "$(error $epoch) meV").replace(
            "#!/bin/sh\n", ERROR_BY_DECAY
        )
    )
    best = mace.best_of_decays(tmp_path / "runs", splits(), {1: -13.6}, 20)
    assert best["decay"] == min(mace.DECAYS)
    assert len(list((tmp_path / "runs").glob("decay-*/results.json"))) == len(mace.DECAYS)


def test_seconds_of_an_epoch(command, tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 15.0, 18.0, 21.0])
    monkeypatch.setattr(mace, "processor_seconds", lambda pid: next(clock))
    assert mace.epoch_seconds(tmp_path / "run", splits(), {1: -13.6}) == pytest.approx(3.0)
