"""Bars that people have, into releases: what they would change, and the change."""
