"""PARD: graphs generated block by block, each block by a discrete diffusion."""
