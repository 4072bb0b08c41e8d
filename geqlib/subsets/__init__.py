"""Learning to choose a subset of a set: set functions and their mean-field marginals."""
