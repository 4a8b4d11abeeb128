"""Sides that run in processes of their own; each module answers tasks (see `bench.measuring.contender`)."""
