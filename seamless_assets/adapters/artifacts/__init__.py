"""Immutable artifacts and release logs, in a folder or a bucket."""
