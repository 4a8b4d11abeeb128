"""One journey a file; each touches the world only through `ports`."""
