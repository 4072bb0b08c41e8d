"""EScAIP: attention between the neighbours of each atom."""
