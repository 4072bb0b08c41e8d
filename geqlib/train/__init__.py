"""Training: tasks, runs of a configuration, exact resume, records of runs."""

from geqlib.train.energy import EnergyForces
from geqlib.train.generated_tasks import BitsTask, MultitaskTask
from geqlib.train.node_tasks import LinkPredictionTask, NodeClassificationTask
from geqlib.train.point_tasks import DisplacementTask, NormalsTask
from geqlib.train.property_task import PropertyTask
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.target_tasks import MaskedClassificationTask, MaskedRegressionTask
from geqlib.train.task import Task
from geqlib.train.tasks import ClassificationTask, GraphClassificationTask, RegressionTask

__all__ = [
    "BitsTask",
    "ClassificationTask",
    "DisplacementTask",
    "EnergyForces",
    "GraphClassificationTask",
    "LinkPredictionTask",
    "MaskedClassificationTask",
    "MaskedRegressionTask",
    "MultitaskTask",
    "NodeClassificationTask",
    "NormalsTask",
    "PropertyTask",
    "RegressionTask",
    "ReseedBatches",
    "SafeCheckpointIO",
    "Task",
]
