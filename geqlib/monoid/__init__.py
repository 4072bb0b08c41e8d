"""Learnable commutative monoid aggregation (Ong and Velickovic, LoG 2022)."""
