"""Which bars are there, which are proven absent, which are missing, and what to ask for next."""
