"""What happens at each step and epoch of training."""
