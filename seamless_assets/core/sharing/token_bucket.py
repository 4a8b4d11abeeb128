"""A token bucket as arithmetic: capacity `burst`, refilled at a steady rate, stopped by cool-downs.

Any window of `interval` admits at most `tokens_per_interval + burst`; a request that costs more than the
burst puts its cost in the place of the burst. Places are taken at once and waited for afterwards, so those
who wait queue in the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seamless_assets.errors import InvalidInput

LONGEST_COOL_DOWN_S = 3 * 86_400.0
"""The longest ban that an exchange is known to speak out."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests allowed: `tokens_per_interval` each `interval_ms`, and `burst` at once.

    `min_interval_ms` is the pause between two requests of one process that cannot reach a shared bucket;
    None for that of the refill rate.
    """

    tokens_per_interval: float
    interval_ms: float
    burst: float
    min_interval_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens_per_interval", "interval_ms", "burst"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidInput(f"{name} is {value}; a rate budget needs more than 0", value=value)

    @property
    def tokens_per_second(self) -> float:
        """The refill rate."""
        return self.tokens_per_interval * 1000 / self.interval_ms

    @property
    def tolerance_s(self) -> float:
        """How late a request may go out that was due earlier, in seconds."""
        return min(1.0, max(0.1, self.interval_ms / 1000 / 50))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left at an instant (epoch seconds). `tokens` below zero are promised to waiters.

    `queued` numbers the last place in the queue. Nothing is admitted before `cool_until`; `paused` adds up
    the seconds of all cool-downs. `born` tells this bucket from one that was lost: places of that are void.
    """

    tokens: float
    at: float
    born: float
    queued: int = 0
    cool_until: float = 0.0
    paused: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A taken place: what it cost and the seconds to wait; the rest names it to its bucket.

    `cooling` is the part of the wait that a cool-down makes.
    """

    cost: float
    wait: float
    number: int
    paused: float
    born: float
    cooling: float = 0.0


def full(budget: Budget, now: float) -> Bucket:
    """A bucket that nobody has taken from."""
    return Bucket(budget.burst, now, now)


def take(budget: Budget, bucket: Bucket, now: float, cost: float) -> tuple[Bucket, Place]:
    """Take `cost` tokens now, in debt if need be; the wait is the time until the debt is refilled.

    A cost above the burst waits for a full bucket only, and its rest is owed by those who come after. A
    clock that jumps back refills nothing, and makes nobody wait for it to catch up.
    """
    held = _refilled(budget, bucket, now)
    lacking = max(0.0, min(cost, budget.burst) - held.tokens)
    cooling = max(0.0, held.cool_until - now)
    wait = lacking / budget.tokens_per_second + cooling
    taken = replace(held, tokens=held.tokens - cost, queued=held.queued + 1)
    return taken, Place(cost, wait, taken.queued, held.paused, held.born, cooling)


def moved(bucket: Bucket, place: Place) -> Place | None:
    """The place once its wait is over: `wait` is what cool-downs have added since; None if it is void."""
    if bucket.born != place.born:
        return None
    added = max(0.0, bucket.paused - place.paused)
    return replace(place, wait=added, paused=bucket.paused, cooling=added)


def give_back(budget: Budget, bucket: Bucket, now: float, place: Place) -> Bucket:
    """The bucket after a waiter that never asked has returned its place.

    Only the last in the queue can return it: those behind keep their times, so a place before theirs,
    given to a newcomer, would be used twice.
    """
    held = _refilled(budget, bucket, now)
    if bucket.born != place.born or bucket.queued != place.number:
        return held
    return replace(held, tokens=min(budget.burst, held.tokens + place.cost), queued=held.queued - 1)


def cool_down(budget: Budget, bucket: Bucket, now: float, seconds: float) -> Bucket:
    """Admit nothing for `seconds` from now; who waits already waits that much longer."""
    held = _refilled(budget, bucket, now)
    until = max(held.cool_until, now + min(seconds, LONGEST_COOL_DOWN_S))
    return replace(held, cool_until=until, paused=held.paused + until - max(held.cool_until, now))


def settle(budget: Budget, bucket: Bucket, now: float, cost: float, born: float | None) -> Bucket:
    """The bucket after requests of `cost` that went out past it, by one who knew it as `born`.

    It is emptied at most; who waits already waits for what was promised to him and is gone. A bucket born
    since has forgotten what it let through, began empty for that, and is left as it is.
    """
    held = _refilled(budget, bucket, now)
    if born not in (None, bucket.born):
        return held
    if held.tokens >= 0:
        return replace(held, tokens=max(0.0, held.tokens - cost))
    pause = min(cost, budget.burst) / budget.tokens_per_second
    return replace(held, cool_until=max(held.cool_until, now) + pause, paused=held.paused + pause)


def _refilled(budget: Budget, bucket: Bucket, now: float) -> Bucket:
    if now < bucket.at:
        return replace(bucket, at=now, cool_until=bucket.cool_until - (bucket.at - now))
    cooled = min(now, max(bucket.at, bucket.cool_until)) - bucket.at
    refill = (now - bucket.at - cooled) * budget.tokens_per_second
    return replace(bucket, tokens=min(budget.burst, bucket.tokens + refill), at=now)
