"""`connect()`: the only place where adapters meet flows, and the face that people call."""
