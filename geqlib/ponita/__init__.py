"""Convolutions over positions and orientations (Bekkers et al., ICLR 2024)."""
