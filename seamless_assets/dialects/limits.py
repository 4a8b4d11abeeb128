"""Rate limits as venues tell of them: what requests weigh, and the headers that say what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_S = 60
"""The window that weights are counted in."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Weights of requests by the last word of their paths, and headers with what was used of a minute."""

    weights: Mapping[str, int] = field(default_factory=dict)
    headers: tuple[str, ...] = ()

    def weight(self, path: str) -> int:
        """What a request for a path weighs; 1 where nothing is said of it."""
        return self.weights.get(path.rpartition("/")[2], 1)
