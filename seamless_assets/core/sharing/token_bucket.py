"""A token bucket as arithmetic: capacity `burst`, refilled at a steady rate, stopped by cool-downs.

Any window of `interval` admits at most `tokens_per_interval + burst`; a request that costs more than the
burst puts its cost in the place of the burst. Places are taken at once and waited for afterwards, so those
who wait queue in the order in which they came. A turn that is given back is there for whoever comes next;
those behind keep theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from seamless_assets.errors import InvalidInput

LONGEST_COOL_DOWN_S = 3 * 86_400.0
"""The longest ban that an exchange is known to speak out; no queue is longer either."""
MAX_FREE = 1_000
"""Turns given back that a bucket remembers; what is beyond is lost."""
_CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests allowed: `tokens_per_interval` each `interval_ms`, and `burst` at once.

    `min_interval_ms` is the pause between any two requests of one process, whoever shares the bucket. None
    for none, and for that of the refill rate while a shared bucket cannot be reached. `reserved_share` of
    both rate and burst, a ratio below 1, is kept for requests that somebody waits for.
    """

    tokens_per_interval: float
    interval_ms: float
    burst: float
    min_interval_ms: float | None = None
    reserved_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tokens_per_interval", "interval_ms", "burst"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidInput(f"{name} is {value}; a rate budget needs more than 0", value=value)
        if not 0 <= self.reserved_share < 1:
            raise InvalidInput(
                f"reserved_share is {self.reserved_share}; give a ratio from 0 to below 1",
                value=self.reserved_share,
            )

    @property
    def unreserved(self) -> Budget:
        """What is left to work in the background."""
        share = 1 - self.reserved_share
        return Budget(self.tokens_per_interval * share, self.interval_ms, self.burst * share)

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
    `refilled` adds up the tokens that time has brought, used or not: a turn has come when it is reached.
    `free` are turns to come that were given back, ascending, each with its tokens; `spare` are tokens of
    such turns that nobody took, and `heaviest` is what the heaviest of those who wait may need at once.
    """

    tokens: float
    at: float
    born: float
    queued: int = 0
    cool_until: float = 0.0
    paused: float = 0.0
    refilled: float = 0.0
    spare: float = 0.0
    heaviest: float = 0.0
    free: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A taken place: what it cost and the seconds to wait; the rest names it to its bucket.

    `cooling` is the part of the wait that a cool-down makes; `turn` is when it comes, as the bucket counts.
    """

    cost: float
    wait: float
    number: int
    paused: float
    born: float
    cooling: float = 0.0
    turn: float = 0.0


def full(budget: Budget, now: float) -> Bucket:
    """A bucket that nobody has taken from."""
    return Bucket(budget.burst, now, now)


def emptied(now: float) -> Bucket:
    """A bucket of which nobody knows what it let through just before."""
    return Bucket(0.0, now, now)


def take(budget: Budget, bucket: Bucket, now: float, cost: float) -> tuple[Bucket, Place]:
    """Take `cost` tokens now, in debt if need be; the wait is the time until its turn.

    A turn that was given back and suffices is taken before the queue grows longer. A cost above the burst
    waits at the end of the queue for a full bucket only, and its rest is owed by those who come after. A
    clock that jumps back refills nothing, and makes nobody wait for it to catch up.
    """
    held = _refilled(budget, bucket, now)
    need = min(cost, budget.burst)
    turn, taken = _turn(held, need) if need == cost else _end_of_queue(held, need)
    heaviest = need if held.tokens >= 0 else max(held.heaviest, need)
    taken = replace(taken, tokens=taken.tokens - (cost - need), queued=held.queued + 1, heaviest=heaviest)
    cooling = max(0.0, held.cool_until - now)
    wait = (turn - held.refilled) / budget.tokens_per_second + cooling
    return taken, Place(cost, wait, taken.queued, held.paused, held.born, cooling, turn)


def _turn(held: Bucket, need: float) -> tuple[float, Bucket]:
    """The next turn that `need` tokens can have, and the bucket without them."""
    if held.spare >= need:
        return held.refilled, replace(held, spare=held.spare - need)
    for at, (turn, tokens) in enumerate(held.free):
        if tokens >= need:
            left = ((turn, tokens - need),) if tokens > need else ()
            return turn, replace(held, free=(*held.free[:at], *left, *held.free[at + 1 :]))
    return _end_of_queue(held, need)


def _end_of_queue(held: Bucket, need: float) -> tuple[float, Bucket]:
    return held.refilled + max(0.0, need - held.tokens), replace(held, tokens=held.tokens - need)


def moved(bucket: Bucket, place: Place) -> Place | None:
    """The place once its wait is over: `wait` is what cool-downs have added since; None if it is void."""
    if bucket.born != place.born:
        return None
    added = max(0.0, bucket.paused - place.paused)
    return replace(place, wait=added, paused=bucket.paused, cooling=added)


def give_back(budget: Budget, bucket: Bucket, now: float, place: Place) -> Bucket:
    """The bucket after a waiter that never asked has returned its place, wherever that stands in the queue.

    Those behind keep their turns. The end of the queue is no turn but a shorter queue.
    """
    held = _refilled(budget, bucket, now)
    if bucket.born != place.born:
        return held
    turns = sorted((*held.free, *_turns(place, budget.burst)))
    tokens = held.tokens
    while turns and turns[-1][0] >= held.refilled - tokens - _CLOSE:
        tokens += turns.pop()[1]
    return _passed(budget, replace(held, tokens=tokens, free=tuple(turns[:MAX_FREE])))


def _turns(place: Place, burst: float) -> list[tuple[float, float]]:
    """The turns that a place leaves free: its own, and later ones where it cost more than the burst."""
    turn, left = place.turn, place.cost
    turns: list[tuple[float, float]] = []
    while left > 0 and len(turns) < MAX_FREE:
        tokens = min(left, burst)
        turn += tokens if turns else 0.0
        turns.append((turn, tokens))
        left -= tokens
    return turns


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
    until = max(held.cool_until, now) + pause
    return replace(held, cool_until=until, paused=held.paused + pause, spare=0.0)


def left(budget: Budget, bucket: Bucket, now: float) -> float:
    """The tokens that a request could take at once; 0 while others wait."""
    held = _refilled(budget, bucket, now)
    return max(0.0, held.tokens) + held.spare if held.cool_until <= now else 0.0


def _refilled(budget: Budget, bucket: Bucket, now: float) -> Bucket:
    """The bucket at `now`. One that cannot be is as one that was lost."""
    if not _can_be(budget, bucket):
        return emptied(now)
    cool_until = min(bucket.cool_until, bucket.at + LONGEST_COOL_DOWN_S)
    if now < bucket.at:
        return replace(bucket, at=now, cool_until=cool_until - (bucket.at - now))
    cooled = min(now, max(bucket.at, cool_until)) - bucket.at
    refill = (now - bucket.at - cooled) * budget.tokens_per_second
    tokens = min(budget.burst, bucket.tokens + refill)
    refilled = bucket.refilled + refill
    return _passed(budget, replace(bucket, tokens=tokens, at=now, cool_until=cool_until, refilled=refilled))


def _passed(budget: Budget, bucket: Bucket) -> Bucket:
    """The bucket once the tokens of free turns that have come are spare, or its own where nobody waits.

    Beside what those who wait may need at once, no more is spare than the burst holds.
    """
    come = sum(tokens for turn, tokens in bucket.free if turn <= bucket.refilled)
    free = tuple((turn, tokens) for turn, tokens in bucket.free if turn > bucket.refilled)
    spare = min(bucket.spare + come, max(0.0, budget.burst - bucket.heaviest))
    if bucket.tokens < 0:
        return replace(bucket, spare=spare, free=free)
    return replace(bucket, tokens=min(budget.burst, bucket.tokens + spare), spare=0.0, free=())


def _can_be(budget: Budget, bucket: Bucket) -> bool:
    numbers = (bucket.tokens, bucket.at, bucket.cool_until, bucket.paused, bucket.refilled, bucket.spare)
    longest_debt = LONGEST_COOL_DOWN_S * budget.tokens_per_second + budget.burst
    return all(map(math.isfinite, numbers)) and bucket.tokens >= -longest_debt and bucket.spare >= 0
