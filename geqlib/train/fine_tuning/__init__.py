"""Runs that begin with another model."""
