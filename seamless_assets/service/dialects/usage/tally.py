"""Counts of requests in dialects, as they are answered: by who asks, and for what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from urllib.parse import parse_qsl

from cachetools import LRUCache

from seamless_assets.core.wire.views import DialectUse
from seamless_assets.dialects.venues import VENUES

MAX_USES = 2_000
"""So many are told apart, those that were asked for last."""
LONGEST_TEXT = 100
TELLING = ("symbol", "instId", "pair", "interval", "bar", "granularity")
"""Parameters that say what is asked for, in the venues' words."""
_Key = tuple[str, str, str, str]


class Tally:
    """Requests since the service began."""

    def __init__(self) -> None:
        self._uses: LRUCache[_Key, DialectUse] = LRUCache(MAX_USES)
        self._used: dict[tuple[str, str], tuple[int, int]] = {}
        self.answered: Counter[str] = Counter()
        """Requests of the live world that were not refused, by exchange: the exchange would have had them."""

    def note(self, caller: str, exchange: str, path: str, query: bytes, *, is_refused: bool) -> None:
        """Count a request: `path` as it was asked, with its world."""
        world, _, own = path.partition(f"/{exchange}")
        key = caller, exchange, world[:LONGEST_TEXT], f"{own[:LONGEST_TEXT]} {_told(query)}".rstrip()
        known = self._uses.get(key) or DialectUse(*key, requests=0, refused=0, last_at=0.0)
        requests, refused = known.requests + 1, known.refused + is_refused
        self._uses[key] = DialectUse(*key, requests=requests, refused=refused, last_at=time.time())
        if not world and not is_refused:
            self.answered[exchange] += 1

    def limit_headers(
        self, caller: str, exchange: str, path: str, at: float | None = None
    ) -> Iterable[tuple[bytes, bytes]]:
        """What the exchange would say of its limits beside an answer: what this caller used of its window.

        `at` is the clock of the world that was asked, None for ours. Windows are those of ours.
        """
        limits, now = VENUES[exchange].limits, time.time()
        window = int(now) // limits.window_s
        begun, used = self._used.get((caller, exchange), (window, 0))
        used = limits.weight(path) + (used if begun == window else 0)
        self._used[caller, exchange] = window, used
        told = limits.headers(used, now if at is None else at, (window + 1) * limits.window_s - now)
        return [(name.encode(), value.encode()) for name, value in told.items()]

    def uses(self) -> list[DialectUse]:
        """Who asked for what, most first."""
        return sorted(self._uses.values(), key=lambda use: (-use.requests, use.caller, use.asked))


def _told(query: bytes) -> str:
    asked = dict(parse_qsl(query.decode("latin-1")))
    return " ".join(asked[name][:LONGEST_TEXT] for name in TELLING if name in asked)
