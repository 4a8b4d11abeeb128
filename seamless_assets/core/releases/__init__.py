"""Artifacts, their fingerprints, and the log of releases that puts them in force."""
