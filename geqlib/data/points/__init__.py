"""Point clouds, particles and images."""

from geqlib.data.points.clouds import PointCloudData
from geqlib.data.points.images import DigitsData, SuperpixelData
from geqlib.data.points.nbody import NBodyData

__all__ = ["DigitsData", "NBodyData", "PointCloudData", "SuperpixelData"]
