"""Settings, read and judged once at start; the only room that sees the environment."""
