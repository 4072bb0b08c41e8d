"""Motifs: exact counts of small patterns, what they say about networks, and PPGN++ on them."""
