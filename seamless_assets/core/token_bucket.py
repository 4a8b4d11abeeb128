"""A token bucket as arithmetic: capacity `burst`, refilled at a steady rate.

Any window of `interval` admits at most `tokens_per_interval + burst`.
"""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.errors import InvalidInput


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
class Grant:
    """A taken place: the bucket afterwards, and the seconds to wait before the request may go out."""

    bucket: Bucket
    wait: float


def take(budget: Budget, bucket: Bucket | None, now: float, cost: float) -> Grant:
    """Take `cost` tokens now, in debt if need be; the wait is the time until the debt is refilled.

    A clock that jumps back refills nothing. A cost above the burst is admitted on a full bucket.
    """
    held = Bucket(budget.burst, now) if bucket is None else _refilled(budget, bucket, now)
    left = held.tokens - min(cost, budget.burst)
    return Grant(Bucket(left, held.at), max(0.0, -left / budget.tokens_per_second) + held.at - now)


def give_back(budget: Budget, bucket: Bucket, cost: float) -> Bucket:
    """The bucket after a waiter that never asked has returned its place."""
    return Bucket(min(budget.burst, bucket.tokens + min(cost, budget.burst)), bucket.at)


def _refilled(budget: Budget, bucket: Bucket, now: float) -> Bucket:
    if now <= bucket.at:
        return bucket
    refill = (now - bucket.at) * budget.tokens_per_second
    return Bucket(min(budget.burst, bucket.tokens + refill), now)
