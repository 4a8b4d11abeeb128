"""Bars that are made of an exchange's trades, where it has no candles of them."""
