"""Exchanges' streams, followed through ccxt.pro."""
