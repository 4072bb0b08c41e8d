"""Models: tensors in, tensors out."""

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.atoms.direct import DirectPotential
from geqlib.atoms.forces import compiled_energy_forces, energy_forces
from geqlib.atoms.molecule_model import MoleculeModel
from geqlib.atoms.potential import Potential
from geqlib.atoms.rotation_average import RotationAverage
from geqlib.atoms.statistics import Energies
from geqlib.baselines.graphs import MessagePassingNet
from geqlib.baselines.points import DGCNN, PointNet
from geqlib.dpa3.network import DPA3
from geqlib.escaip.network import EScAIP
from geqlib.frames.graph_networks import FAGIN, FAMLP
from geqlib.frames.message_network import FAGNN
from geqlib.frames.point_networks import FADGCNN, FALocalPointNet, FAPointNet
from geqlib.frames.transport_network import TransportNet
from geqlib.gaunt.network import GauntNet
from geqlib.monoid.networks import MonoidGNN, SetNetwork
from geqlib.motifs.network import PPGNpp
from geqlib.pard.model import PARD
from geqlib.ponita.edge_lift import EdgePONITA
from geqlib.ponita.network import PONITA
from geqlib.spen.network import IGN, SPEN
from geqlib.subsets.model import EquiVSet

__all__ = [
    "DGCNN",
    "DPA3",
    "FADGCNN",
    "FAGIN",
    "FAGNN",
    "FAMLP",
    "IGN",
    "PARD",
    "PONITA",
    "SPEN",
    "CalibratedPotential",
    "DirectPotential",
    "EScAIP",
    "EdgePONITA",
    "Energies",
    "EquiVSet",
    "FALocalPointNet",
    "FAPointNet",
    "GauntNet",
    "MessagePassingNet",
    "MoleculeModel",
    "MonoidGNN",
    "PPGNpp",
    "PointNet",
    "Potential",
    "RotationAverage",
    "SetNetwork",
    "TransportNet",
    "compiled_energy_forces",
    "energy_forces",
]
