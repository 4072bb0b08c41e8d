"""Fused operators, each beside the same function in plain torch."""
