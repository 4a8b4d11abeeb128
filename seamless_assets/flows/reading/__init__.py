"""From released artifacts to the reader."""
