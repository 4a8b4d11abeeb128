"""The hot store of one machine: SQLite."""
