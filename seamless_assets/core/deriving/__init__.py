"""Series that are made of others: what they were made of, and what follows from that."""
