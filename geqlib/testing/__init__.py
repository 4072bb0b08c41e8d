"""Measures of symmetry, for the library's own tests and for yours."""

from geqlib.symmetry.degrees import error_by_degree
from geqlib.symmetry.measure import OutputTypes, assert_equivariant, equivariance_error
from geqlib.symmetry.points import degenerate_sets
from geqlib.symmetry.rotations import random_rotation, random_translation
from geqlib.symmetry.types import parse_type

__all__ = [
    "OutputTypes",
    "assert_equivariant",
    "degenerate_sets",
    "equivariance_error",
    "error_by_degree",
    "parse_type",
    "random_rotation",
    "random_translation",
]
