"""Who starts the processes of a run: geqlib itself, unless a cluster has started them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

# in such jobs Lightning starts processes itself
INTERACTIVE = ("bash", "interactive")


def own_environment(options: Mapping[str, Any], plugins: Sequence[Any]) -> list[ClusterEnvironment]:
    """A plugin that lets Lightning start processes itself where SLURM has not; else none.

    In every job of SLURM, Lightning assumes that `srun` has started one process for each task, and
    waits for them for ever if the program was started without.

    Args:
        options: of the trainer.
        plugins: of the trainer.

    Raises:
        ValueError: if the run is on several nodes, on which only `srun` can start processes.
    """
    tasks = os.environ.get("SLURM_NTASKS")
    chosen = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    # a strategy that was built may have an environment of its own
    chosen = chosen or not isinstance(options.get("strategy", "auto"), str)
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    interactive = os.environ.get("SLURM_JOB_NAME") in INTERACTIVE
    if tasks is None or chosen or torchrun or interactive or step_tasks() == tasks:
        return []
    if int(options.get("num_nodes", 1)) > 1:
        raise ValueError(
            f"The run is on {options['num_nodes']} nodes of SLURM, but was started without srun, "
            "so that the other nodes have no processes: put srun before the command."
        )
    if int(tasks) > 1 and "LOCAL_RANK" not in os.environ:  # said once, by the first process
        warnings.warn(
            f"The job has {tasks} tasks of SLURM, but was started without srun: SLURM is ignored, "
            "and trainer.devices alone says how many processes there are. Put srun before the "
            "command to run one for each task.",
            stacklevel=2,
        )
    return [LightningEnvironment()]


def step_tasks() -> str | None:
    """How many processes `srun` has started; None if this program was started without."""
    return os.environ.get("SLURM_STEP_NUM_TASKS")
