"""Models: tensors in, tensors out."""

from geqlib.models.ponita import PONITA

__all__ = ["PONITA"]
