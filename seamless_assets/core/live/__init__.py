"""The live stream as values: events, cursors, and what follows from what is known."""
