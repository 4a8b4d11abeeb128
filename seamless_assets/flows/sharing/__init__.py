"""Budgets and leases in use: waiting, renewing, falling back to this machine."""
