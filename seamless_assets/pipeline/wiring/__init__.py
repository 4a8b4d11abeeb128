"""Adapters, opened as the settings say and wired together: the only place where adapters meet flows."""
