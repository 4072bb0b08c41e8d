"""Functions on the sphere and on SO(3): harmonics, grids, quadrature, coefficients."""
