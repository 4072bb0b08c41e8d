"""Models: tensors in, tensors out."""

from geqlib.models.dgcnn import DGCNN, FADGCNN
from geqlib.models.fa_gin import FAGIN
from geqlib.models.fa_gnn import FAGNN
from geqlib.models.fa_local import FALocalPointNet
from geqlib.models.fa_mlp import FAMLP
from geqlib.models.forces import compiled_energy_forces, energy_forces
from geqlib.models.gaunt_net import GauntNet
from geqlib.models.graph_baselines import MessagePassingNet
from geqlib.models.ign import IGN
from geqlib.models.molecule import MoleculeModel
from geqlib.models.monoid_gnn import MonoidGNN
from geqlib.models.pointnet import FAPointNet, PointNet
from geqlib.models.ponita import PONITA
from geqlib.models.potential import Energies, Potential
from geqlib.models.rotation_average import RotationAverage
from geqlib.models.set_network import SetNetwork
from geqlib.models.spen import SPEN

__all__ = [
    "DGCNN",
    "FADGCNN",
    "FAGIN",
    "FAGNN",
    "FAMLP",
    "IGN",
    "PONITA",
    "SPEN",
    "Energies",
    "FALocalPointNet",
    "FAPointNet",
    "GauntNet",
    "MessagePassingNet",
    "MoleculeModel",
    "MonoidGNN",
    "PointNet",
    "Potential",
    "RotationAverage",
    "SetNetwork",
    "compiled_energy_forces",
    "energy_forces",
]
