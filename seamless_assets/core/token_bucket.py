"""A token bucket as arithmetic: capacity `burst`, refilled at a steady rate.

Any window of `interval` admits at most `tokens_per_interval + burst`; a request that costs more than the
burst puts its cost in the place of the burst.
"""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.errors import InvalidInput

_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests allowed: `tokens_per_interval` each `interval_ms`, and `burst` at once."""

    tokens_per_interval: float
    interval_ms: float
    burst: float

    def __post_init__(self) -> None:
        for name in ("tokens_per_interval", "interval_ms", "burst"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidInput(f"{name} is {value}; a rate budget needs more than 0", value=value)

    @property
    def tokens_per_second(self) -> float:
        """The refill rate."""
        return self.tokens_per_interval * 1000 / self.interval_ms


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left at an instant (epoch seconds). `tokens` below zero are promised to waiters."""

    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Place:
    """A taken place: what it cost, the seconds to wait, and the instant its request may go out."""

    cost: float
    wait: float
    due: float


def take(budget: Budget, bucket: Bucket | None, now: float, cost: float) -> tuple[Bucket, Place]:
    """Take `cost` tokens now, in debt if need be; the wait is the time until the debt is refilled.

    A cost above the burst waits for a full bucket only, and its rest is owed by those who come after. A
    clock that jumps back refills nothing, and makes nobody wait for it to catch up.
    """
    held = Bucket(budget.burst, now) if bucket is None else _refilled(budget, bucket, now)
    lacking = min(cost, budget.burst) - held.tokens
    wait = max(0.0, lacking / budget.tokens_per_second)
    return Bucket(held.tokens - cost, now), Place(cost, wait, now + wait)


def give_back(budget: Budget, bucket: Bucket, now: float, place: Place) -> Bucket:
    """The bucket after a waiter that never asked has returned its place.

    Only the last in the queue can return it: those behind keep their times, so a place before theirs,
    given to a newcomer, would be used twice.
    """
    held = _refilled(budget, bucket, now)
    owed_until = now + (min(place.cost, budget.burst) - place.cost - held.tokens) / budget.tokens_per_second
    is_last = owed_until <= place.due + _ROUNDING_S
    return Bucket(min(budget.burst, held.tokens + place.cost), now) if is_last else held


def _refilled(budget: Budget, bucket: Bucket, now: float) -> Bucket:
    refill = max(0.0, now - bucket.at) * budget.tokens_per_second
    return Bucket(min(budget.burst, bucket.tokens + refill), now)
