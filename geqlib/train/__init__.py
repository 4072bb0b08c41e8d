"""Training: tasks, runs of a configuration, exact resume, records of runs."""

from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.steps.constraint import InvarianceConstraint
from geqlib.train.tasks.diffusion import MoleculeDiffusion
from geqlib.train.tasks.energy import EnergyForces
from geqlib.train.tasks.generated import BitsTask, MultitaskTask
from geqlib.train.tasks.graph_generation import GraphDiffusion
from geqlib.train.tasks.graphs import ClassificationTask, GraphClassificationTask, RegressionTask
from geqlib.train.tasks.nodes import LinkPredictionTask, NodeClassificationTask
from geqlib.train.tasks.ordering import GroupOrderingTask
from geqlib.train.tasks.points import DisplacementTask, NormalsTask
from geqlib.train.tasks.properties import PropertyTask
from geqlib.train.tasks.subsets import SubsetTask
from geqlib.train.tasks.targets import MaskedClassificationTask, MaskedRegressionTask
from geqlib.train.tasks.task import Task

__all__ = [
    "BitsTask",
    "ClassificationTask",
    "DisplacementTask",
    "EnergyForces",
    "GraphClassificationTask",
    "GraphDiffusion",
    "GroupOrderingTask",
    "InvarianceConstraint",
    "LinkPredictionTask",
    "MaskedClassificationTask",
    "MaskedRegressionTask",
    "MoleculeDiffusion",
    "MultitaskTask",
    "NodeClassificationTask",
    "NormalsTask",
    "PropertyTask",
    "RegressionTask",
    "ReseedBatches",
    "SafeCheckpointIO",
    "SubsetTask",
    "Task",
]
