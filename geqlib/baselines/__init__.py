"""Networks to compare with, as a user would write them."""
