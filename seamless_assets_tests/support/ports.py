"""Ports over real embedded stores, for tests of flows that are to leave something on a disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import InMemoryExchange, in_memory_ports


def embedded_ports(tmp_path: Path, exchange: InMemoryExchange, policy: Policy | None = None) -> Ports:
    """Ports over SQLite and a folder below `tmp_path`, and the given exchange; leases never run out."""
    policy = replace(policy, lease_ttl_ms=float("inf")) if policy else None
    return in_memory_ports(
        exchange,
        policy=policy,
        hot=SqliteHotStore(tmp_path / "hot.sqlite"),
        artifacts=ArtifactStore(str(tmp_path / "artifacts")),
        leases=MachineLeases(tmp_path / "leases.sqlite"),
        worker="tests:1:0",
    )
