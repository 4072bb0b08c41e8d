"""Variables of SLURM without srun: Lightning would wait for processes that nobody starts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from geqlib.data import NBodyData
from geqlib.models import PONITA
from geqlib.train import DisplacementTask
from geqlib.train.run import Run, make_trainer

JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
JOB |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "2"}
ELASTIC = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}


def environment(monkeypatch: Any, folder: Path, variables: dict[str, str], **options: Any) -> Any:
    """What Lightning goes by in a job with these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    task = DisplacementTask(PONITA(1, 1, 0, 1, channels=4, layers=1))
    trainer = {"default_root_dir": str(folder), "accelerator": "cpu", "devices": 2} | options
    return make_trainer(Run(task, NBodyData(4), trainer)).strategy.cluster_environment  # type: ignore[attr-defined]


def test_tasks_without_srun_are_ignored_with_a_sentence(monkeypatch, tmp_path) -> None:
    with pytest.warns(UserWarning, match=r"2 tasks of SLURM, but was started without srun"):
        actual = environment(monkeypatch, tmp_path, JOB)
    assert type(actual) is LightningEnvironment and not actual.creates_processes_externally


@pytest.mark.parametrize(
    "variables",
    [{"SLURM_NTASKS": "1"}, {"SLURM_STEP_NUM_TASKS": "1"}, {"LOCAL_RANK": "1"}],
    ids=["one task", "a shell in a step of its own", "the second process"],
)
@pytest.mark.filterwarnings("ignore")
def test_other_jobs_without_srun(monkeypatch, tmp_path, variables) -> None:
    actual = environment(monkeypatch, tmp_path, JOB | variables)
    assert type(actual) is LightningEnvironment


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        (JOB | {"SLURM_STEP_NUM_TASKS": "2"}, SLURMEnvironment),
        (JOB | ELASTIC, TorchElasticEnvironment),
        (JOB | {"SLURM_JOB_NAME": "bash"}, LightningEnvironment),
        ({}, LightningEnvironment),
    ],
    ids=["srun", "torchrun", "interactive", "elsewhere"],
)
def test_what_started_the_processes_is_believed(monkeypatch, tmp_path, variables, kind) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without srun")
        assert type(environment(monkeypatch, tmp_path, variables)) is kind


def test_several_nodes_need_srun(monkeypatch, tmp_path) -> None:
    with pytest.raises(ValueError, match="on 2 nodes of SLURM, but was started without srun"):
        environment(monkeypatch, tmp_path, JOB, num_nodes=2)


def test_an_environment_of_the_user_stays(monkeypatch, tmp_path) -> None:
    mine = LightningEnvironment()
    assert environment(monkeypatch, tmp_path, JOB, plugins=[mine]) is mine
