"""Training: tasks, exact resume, records of runs."""

from geqlib.train.displacement import DisplacementTask
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.task import Task

__all__ = ["DisplacementTask", "ReseedBatches", "SafeCheckpointIO", "Task"]
