"""The local exchange: an HTTP server that unmodified ccxt clients talk to, for demos and tests."""
