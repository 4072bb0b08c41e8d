"""Models: tensors in, tensors out."""

from geqlib.atoms.forces import compiled_energy_forces, energy_forces
from geqlib.atoms.potential import Energies, MoleculeModel, Potential, RotationAverage
from geqlib.baselines.graphs import MessagePassingNet
from geqlib.frames.dgcnn import DGCNN, FADGCNN
from geqlib.frames.fa_gin import FAGIN
from geqlib.frames.fa_local import FALocalPointNet
from geqlib.frames.graph_networks import FAMLP
from geqlib.frames.message_network import FAGNN
from geqlib.frames.point_networks import FAPointNet, PointNet
from geqlib.gaunt.network import GauntNet
from geqlib.monoid.networks import MonoidGNN, SetNetwork
from geqlib.ponita.network import PONITA
from geqlib.spen.ign import IGN
from geqlib.spen.network import SPEN

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
