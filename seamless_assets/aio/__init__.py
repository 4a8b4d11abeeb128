"""Waiting well: many things at once, work that must end, single flight. Knows nothing of bars."""
