"""Gaunt tensor products (Luo, Chen and Krishnapriyan, ICLR 2024)."""
