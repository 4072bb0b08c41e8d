"""How much work and memory counts of motifs may take, and what to do where they would take more."""

MOST_STEPS = 1e10  # terms of the sums for one pattern
MOST_ROWS = 10**8  # of one result, in memory
ADVICE = "count smaller patterns, or give a larger most_steps"
