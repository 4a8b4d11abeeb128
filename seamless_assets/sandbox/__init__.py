"""The local exchange: an HTTP server that unmodified ccxt clients talk to, for demos, tests and offline work."""
