"""Bars as tables: their schema, times and cells, conformance, and their bytes in Parquet."""
