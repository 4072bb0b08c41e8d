"""Frame averaging (Puny et al., ICLR 2022)."""
