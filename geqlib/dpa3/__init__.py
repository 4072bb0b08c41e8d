"""Message passing on atoms, bonds and angles: DPA3 (Zhang et al., arXiv 2506.01686)."""
