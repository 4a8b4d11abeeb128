"""Rate limits as venues tell of them: what requests weigh, and the headers that say what was used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LimitHeaders = Callable[[int, float, float], Mapping[str, str]]
"""Headers of an answer, by what its caller has used of a window, the venue's clock in epoch seconds, and
how many seconds of the window are left."""


def no_headers(_used: int, _at: float, _left_s: float) -> Mapping[str, str]:
    """Of a venue whose answers tell nothing of limits."""
    return {}


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Weights of requests by the last word of their paths, and what answers tell of a window of `window_s`."""

    window_s: int = 60
    headers: LimitHeaders = no_headers
    weights: Mapping[str, int] = field(default_factory=dict)

    def weight(self, path: str) -> int:
        """What a request for a path weighs; 1 where nothing is said of it."""
        return self.weights.get(path.rpartition("/")[2], 1)
