"""Training: tasks, exact resume, records of runs."""

from geqlib.train.bits import BitsTask
from geqlib.train.classification import ClassificationTask
from geqlib.train.displacement import DisplacementTask
from geqlib.train.energy_forces import EnergyForces
from geqlib.train.graph_classification import GraphClassificationTask
from geqlib.train.multitask import MultitaskTask
from geqlib.train.normals import NormalsTask
from geqlib.train.regression import RegressionTask
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.task import Task

__all__ = [
    "BitsTask",
    "ClassificationTask",
    "DisplacementTask",
    "EnergyForces",
    "GraphClassificationTask",
    "MultitaskTask",
    "NormalsTask",
    "RegressionTask",
    "ReseedBatches",
    "SafeCheckpointIO",
    "Task",
]
