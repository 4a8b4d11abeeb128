"""From the hot store to the release log, and what is done to a log later."""
