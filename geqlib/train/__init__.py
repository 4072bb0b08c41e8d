"""Training: tasks, runs of a configuration, exact resume, records of runs."""

from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.tasks.energy import EnergyForces
from geqlib.train.tasks.generated import BitsTask, MultitaskTask
from geqlib.train.tasks.graph_generation import GraphDiffusion
from geqlib.train.tasks.graphs import ClassificationTask, GraphClassificationTask, RegressionTask
from geqlib.train.tasks.nodes import LinkPredictionTask, NodeClassificationTask
from geqlib.train.tasks.points import DisplacementTask, NormalsTask
from geqlib.train.tasks.properties import PropertyTask
from geqlib.train.tasks.targets import MaskedClassificationTask, MaskedRegressionTask
from geqlib.train.tasks.task import Task

__all__ = [
    "BitsTask",
    "ClassificationTask",
    "DisplacementTask",
    "EnergyForces",
    "GraphClassificationTask",
    "GraphDiffusion",
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
