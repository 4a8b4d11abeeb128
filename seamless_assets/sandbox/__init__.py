"""The local exchange: HTTP and WebSocket for unmodified ccxt clients, for demos and tests."""
