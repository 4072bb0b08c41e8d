"""Fused operators, each beside the same function in plain torch.

`plain()` switches the fused kernels off, `watch()` counts which form was taken.
"""

from geqlib.kernels.selection import plain, watch

__all__ = ["plain", "watch"]
