"""An open pipeline in memory: the face that users call, over twins of everything outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.flows.diagnose import Question
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.pipeline.wiring.policy import policy_of, read_settings
from seamless_assets.testing.exchange import InMemoryExchange
from seamless_assets.testing.ports import in_memory_ports


def connect_in_memory(exchange: InMemoryExchange, seamless: Mapping[str, Any] | None = None) -> Seamless:
    """Open a pipeline over the `series` of an exchange in memory; no file, server or network is touched.

    It behaves as one of `connect` does, on the exchange's clock: what is materialized is released, what is
    released is read. `seamless` holds settings as below `seamless:` in a `seamless.yaml`. What it stores is
    gone when it is closed. Raises `ConfigError`.
    """
    settings = _settings(exchange, seamless or {})
    return Seamless(settings, portal=Portal(lambda: _Twins(exchange, settings)))


class _Twins:
    """The ports of a pipeline in memory, and nothing to close but fills."""

    def __init__(self, exchange: InMemoryExchange, settings: Settings) -> None:
        self.shared: list[tuple[str, Question]] = []
        self._fills = BackgroundFills()
        self.ports: Ports = in_memory_ports(
            exchange,
            # Nobody is there to take a lease over.
            policy=replace(policy_of(settings), lease_ttl_ms=math.inf, live_lease_ttl_ms=math.inf),
            reading=read_settings(settings),
            fills=self._fills,
        )

    def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def close(self) -> None:
        """End what goes on in the background."""
        await self._fills.close()


def _settings(exchange: InMemoryExchange, seamless: Mapping[str, Any]) -> Settings:
    """Settings that declare every series of the exchange, beginning with its first bar."""
    declared: dict[str, dict[str, Any]] = {}
    for node, bars in exchange.series.items():
        venue = declared.setdefault(node.exchange, {"symbols": [], "timeframes": []})
        venue["symbols"] = sorted({*venue["symbols"], node.symbol})
        venue["timeframes"] = sorted({*venue["timeframes"], str(node.timeframe)})
        venue["start"] = min([*bars, venue.get("start", exchange.clock.now())])
    # No folder is made: the artifacts are entries of a dictionary.
    whole = {"artifact": {"object_store_uri": "./in-memory"}, **seamless}
    return settings_from_mapping({"seamless": whole, "exchanges": declared}, environ={})
