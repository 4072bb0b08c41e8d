"""Potentials around any network: energies, forces, stress."""
