"""Sub-graph permutation equivariant networks (Mitton and Murray-Smith, 2021)."""
