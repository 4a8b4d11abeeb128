"""A project as a whole: its file, the demo, Dagster's UI."""
