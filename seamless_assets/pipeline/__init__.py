"""`connect()`, the face that people call, and what carries it: the event loop below, the adapters wired."""
