"""A pipeline on a local exchange that a test shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.market import DEFAULT_MARKETS
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
YOUNG = [replace(market, listed=START - 250 * DAY) for market in DEFAULT_MARKETS]
"""Markets whose beginning is quickly found."""


@dataclass
class Stage:
    """A local exchange, a pipeline on it, and what the exchange was asked."""

    exchange: Sandbox
    pipeline: sa.Seamless

    def backfill(self, node: str, start: int, end: int) -> Any:
        return self.pipeline.backfill(node, start, end)

    def truth(self, symbol: str, frame: str, start: int, end: int) -> list[int]:
        """Opens of the bars the market made."""
        return self.exchange.book.candles(symbol, sa.Timeframe(frame), start, end)["ts"].tolist()

    def stored(self, node: str, start: int, end: int) -> list[int]:
        """Opens of the bars the hot store holds."""
        absent = self.pipeline.coverage(node, start, end).gaps
        step = sa.NodeId.parse(node).timeframe.seconds or 0
        gone = {ts for gap in absent for ts in range(gap.start, gap.end, step)}
        return [ts for ts in range(start, end, step) if ts not in gone]

    def asked(self, *parts: str) -> int:
        """How many requests had all `parts` in their path and query."""
        lines = [f"{request.path}?{request.query}" for request in self.exchange.requests]
        return sum(all(part in line for part in parts) for line in lines)

    def reasons(self, node: str, start: int, end: int) -> Counter[str]:
        """Bars of a window that are not there, by reason."""
        timeframe = sa.NodeId.parse(node).timeframe
        counts: Counter[str] = Counter()
        for gap in self.pipeline.coverage(node, start, end).gaps:
            counts[gap.reason] += timeframe.count(gap.start, gap.end)
        return counts


@pytest.fixture
def staged(settings_for: Callable[..., Settings], tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Builds a stage: `staged({"binance": ["BTC/USDT"]}, markets=[...], backfill={...})`."""
    with ExitStack() as stack:

        def build(
            exchanges: dict[str, list[str]],
            *,
            timeframes: tuple[str, ...] = ("1m",),
            per_exchange: dict[str, Any] | None = None,
            seamless: dict[str, Any] | None = None,
            **sandbox: Any,
        ) -> Stage:
            exchange = stack.enter_context(Sandbox(**{"now": NOW, "markets": YOUNG, **sandbox}).running())
            declared = {
                name: {
                    "base_url": exchange.url,
                    "symbols": symbols,
                    "timeframes": list(timeframes),
                    **(per_exchange or {}),
                }
                for name, symbols in exchanges.items()
            }
            pipeline = stack.enter_context(sa.connect(settings_for(declared, **(seamless or {}))))
            return Stage(exchange, pipeline)

        yield build
