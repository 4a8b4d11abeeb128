"""From the exchange to the hot store."""
