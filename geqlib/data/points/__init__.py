"""Point clouds, particles and images."""

from geqlib.data.points.clouds import PointCloudData
from geqlib.data.points.digits import DigitsData
from geqlib.data.points.nbody import NBodyData
from geqlib.data.points.superpixels import SuperpixelData

__all__ = ["DigitsData", "NBodyData", "PointCloudData", "SuperpixelData"]
