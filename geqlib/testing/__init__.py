"""Rulers of symmetry, for the library's own tests and for yours."""

from geqlib.geometry.rotations import random_rotation, random_translation
from geqlib.testing.points import degenerate_sets
from geqlib.testing.rulers import OutputTypes, assert_equivariant, equivariance_error
from geqlib.testing.types import parse_type

__all__ = [
    "OutputTypes",
    "assert_equivariant",
    "degenerate_sets",
    "equivariance_error",
    "parse_type",
    "random_rotation",
    "random_translation",
]
