"""Worlds: what each has seen of a node, and what an outside service decides for it."""
