"""The market lists of exchanges: which are asked for, and what is kept of them."""
