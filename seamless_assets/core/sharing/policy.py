"""What the settings decide for the flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from seamless_assets.core.calendar.partition import PartitionUnit, default_unit
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.aliases import Alias

FeedMode = Literal["polling", "websocket", "auto"]
"""How it is heard that bars of an exchange have closed: by asking, by its stream, or by that where it has
one of candles."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Knobs of fetching, sealing and releasing; times in ms where named so, ratios in 0..1.

    `feeds` are by exchange; polling goes without saying. Bars of exchanges that are `told_when_proven` by
    their streams are told before they are stored. `derived` nodes are made of others, and no exchange
    is asked for their bars; those of `made_of_trades` are made of the exchange's trades, and those of
    `repaired_by_trades` where it keeps sending no candles.
    """

    stabilization_bars: int = 2
    max_attempts: int = 5
    retry_backoff_ms: float = 500
    jitter_ratio: float = 0.25
    window_bars: int = 900
    lease_ttl_ms: float = 120_000
    live_lease_ttl_ms: float = 15_000
    single_flight_ttl_ms: float = 60_000
    coverage_ratio_threshold: float = 0.98
    conformance_version: str = "v2"
    severities: Mapping[str, str] = field(default_factory=dict)
    compression: str = "zstd"
    early_fingerprint: bool = False
    partition_units: Mapping[str, PartitionUnit] = field(default_factory=dict)
    producer: Mapping[str, str] = field(default_factory=dict)
    drops_flat_bars: frozenset[str] = frozenset()
    aliases: Mapping[tuple[str, str], tuple[Alias, ...]] = field(default_factory=dict)
    derived: frozenset[NodeId] = frozenset()
    repaired_by_trades: frozenset[NodeId] = frozenset()
    made_of_trades: frozenset[NodeId] = frozenset()
    feeds: Mapping[str, FeedMode] = field(default_factory=dict)
    told_when_proven: frozenset[str] = frozenset()
    keep_days: Mapping[PartitionUnit, float] = field(
        default_factory=lambda: {"day": 45.0, "month": 400.0, "year": 4_000.0}
    )

    def aliases_of(self, node: NodeId) -> tuple[Alias, ...]:
        """The symbols that a node had before its own, ascending."""
        return self.aliases.get((node.exchange, node.symbol), ())

    def partition_unit(self, timeframe: Timeframe) -> PartitionUnit:
        """The size of a timeframe's partitions."""
        return self.partition_units.get(str(timeframe), default_unit(timeframe))

    def retry_delay(self, attempt: int, luck: float, retry_after: float | None) -> float:
        """Seconds before try `attempt + 1` (from 1): exponential, jittered by `luck` in 0..1."""
        backoff: float = self.retry_backoff_ms / 1000 * 2 ** (attempt - 1)
        jittered = backoff * (1 + self.jitter_ratio * (2 * luck - 1))
        return max(jittered, retry_after or 0.0)

    def as_record(self) -> dict[str, Any]:
        """The decisions a manifest records."""
        return {
            "stabilization_bars": self.stabilization_bars,
            "coverage_ratio_threshold": self.coverage_ratio_threshold,
            "compression": self.compression,
        }
