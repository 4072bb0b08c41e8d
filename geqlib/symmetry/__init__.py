"""How tensors transform, and how far a function is from doing so."""
