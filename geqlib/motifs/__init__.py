"""Motifs: exact counts of small patterns, the power of networks that need them, and PPGN++."""
