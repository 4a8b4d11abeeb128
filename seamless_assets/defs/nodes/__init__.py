"""Nodes as assets: how they are defined, run, checked and shown."""
