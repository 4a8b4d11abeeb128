"""Exchanges, asked through ccxt."""
