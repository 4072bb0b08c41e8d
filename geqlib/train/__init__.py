"""Training: tasks, exact resume, records of runs."""

from geqlib.train.classification import ClassificationTask
from geqlib.train.displacement import DisplacementTask
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.task import Task

__all__ = ["ClassificationTask", "DisplacementTask", "ReseedBatches", "SafeCheckpointIO", "Task"]
