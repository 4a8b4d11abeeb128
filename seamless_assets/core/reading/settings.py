"""What the settings decide for reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from cachetools import LRUCache

from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import Strategy
from seamless_assets.core.reading.sla import PRESETS, UNBOUNDED, SLAPolicy


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Defaults of reads: strategy, service levels and their presets, and when a live read is held.

    `past_sla` is that of reads that nothing but a release answers. `max_lag` is in seconds, `min_coverage`
    a ratio, `dryrun_publishes` whether a dry run may make a release, `waits_for_fills` whether a read waits
    for whatever it fills, `starts` the declared first open of each node, `exchanges` those whose wanted
    fills may be taken over.
    """

    strategy: Strategy = "SEAMLESS"
    sla: SLAPolicy = field(default_factory=SLAPolicy)
    past_sla: SLAPolicy = UNBOUNDED
    presets: Mapping[str, SLAPolicy] = field(default_factory=lambda: PRESETS)
    max_lag: float = 120.0
    min_coverage: float = 0.98
    allow_partial: bool = True
    dryrun_publishes: bool = True
    waits_for_fills: bool = False
    starts: Mapping[str, int] = field(default_factory=dict)
    exchanges: frozenset[str] = frozenset()
    _nearest: LRUCache[NodeId, str | None] = field(
        default_factory=lambda: LRUCache(1_000), init=False, repr=False, compare=False
    )

    def nearest(self, node: NodeId) -> str | None:
        """The declared node that an undeclared one may have been meant as; None where there is none.

        It differs in one part: the timeframe, the exchange, or a few characters of the symbol.
        """
        if node not in self._nearest:
            # Whoever asks for it once asks again and again, and of thousands of nodes a look takes a while.
            self._nearest[node] = None if str(node) in self.starts else _nearest(node, self.starts)
        return self._nearest[node]


def _nearest(node: NodeId, declared: Iterable[str]) -> str | None:
    known = [NodeId.parse(text) for text in declared]
    by_parts = (
        {str(one.timeframe): one for one in known if _same(one, node, "exchange", "symbol")},
        {one.exchange: one for one in known if _same(one, node, "symbol", "timeframe")},
        {one.symbol: one for one in known if _same(one, node, "exchange", "timeframe")},
    )
    asked = (str(node.timeframe), node.exchange, node.symbol)
    for part, found, cutoff in zip(asked, by_parts, (0.0, 0.0, 0.6), strict=True):
        if near := get_close_matches(part, found, n=1, cutoff=cutoff):
            return str(found[near[0]])
    return None


def _same(one: NodeId, other: NodeId, *parts: str) -> bool:
    return all(getattr(one, part) == getattr(other, part) for part in parts)
