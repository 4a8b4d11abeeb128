"""Peers from PyPI, each in an environment of its own."""
