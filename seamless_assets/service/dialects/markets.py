"""The markets of an exchange that the settings declare, as far as its dialect has words for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.dialects.symbols import SymbolParts, parts_of
from seamless_assets.dialects.terms import Terms


@dataclass(frozen=True, slots=True)
class DeclaredMarket:
    """A symbol with the timeframes that are declared of it; `listed` is where the first of them begins."""

    symbol: str
    parts: SymbolParts
    listed: int
    nodes: Mapping[Timeframe, NodeId]
    price: None = None
    terms: Terms = Terms()
    """For where no list of the exchange is known to name it."""

    @property
    def base(self) -> str:
        """What is traded."""
        return self.parts.base

    @property
    def quote(self) -> str:
        """What it is priced in."""
        return self.parts.quote

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap."""
        return self.parts.is_swap

    @property
    def expiry(self) -> datetime | None:
        """When a dated future ends; None for what does not."""
        return self.parts.expiry

    def is_halted(self, now: float) -> bool:
        """Whether it has expired by `now`."""
        return self.expiry is not None and self.expiry.timestamp() <= now


def declared_markets(exchange: str, starts: Mapping[NodeId, int]) -> dict[str, DeclaredMarket]:
    """The declared markets of an exchange by symbol: spot, and contracts that settle in their quote.

    No dialect here has words for inverse contracts and options.
    """
    nodes: dict[str, dict[Timeframe, NodeId]] = {}
    for node in starts:
        if node.exchange == exchange:
            nodes.setdefault(node.symbol, {})[node.timeframe] = node
    return {
        symbol: DeclaredMarket(symbol, parts, min(starts[node] for node in own.values()), own)
        for symbol, own, parts in _with_parts(nodes)
    }


def _with_parts(
    nodes: Mapping[str, dict[Timeframe, NodeId]],
) -> Iterable[tuple[str, dict[Timeframe, NodeId], SymbolParts]]:
    for symbol, own in nodes.items():
        parts = parts_of(symbol)
        if parts is not None and not parts.is_option and parts.settle in (None, parts.quote):
            yield symbol, own, parts
