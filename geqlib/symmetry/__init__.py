"""How tensors transform, groups beyond rotations, and how far a function is from a symmetry."""

from geqlib.symmetry.affine import haar_weights, random_matrices
from geqlib.symmetry.polar import coordinates, exp, from_coordinates, log, polar

__all__ = [
    "coordinates",
    "exp",
    "from_coordinates",
    "haar_weights",
    "log",
    "polar",
    "random_matrices",
]
