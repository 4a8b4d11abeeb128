"""The former names of what `seamless_assets.testing` holds, until all tests use the new ones."""

from __future__ import annotations

from seamless_assets.testing.clock import VirtualClock as VirtualClock
from seamless_assets.testing.clock import run_on_virtual_time as on_virtual_time
from seamless_assets.testing.leases import InMemoryLeaseStore as MemoryLeases

__all__ = ["MemoryLeases", "VirtualClock", "on_virtual_time"]
