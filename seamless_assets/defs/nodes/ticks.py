"""Where the ticks of an axis lie, and what stands beside them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
MOST_TIMES = 9
MINUTE, HOUR, DAY = 60, 3_600, 86_400
STEPS = (
    *(1, 5, 15, 30),
    *(MINUTE * count for count in (1, 5, 15, 30)),
    *(HOUR * count for count in (1, 3, 6, 12)),
    *(DAY * count for count in (1, 2, 5, 10)),
)
"""Seconds from tick to tick; what is longer is counted in months."""
MONTHS = (1, 2, 3, 6, *(12 * years for years in (1, 2, 5, 10, 20, 50)))
PLAIN = (1e-4, 1e7)
"""Numbers in between are written without a power of ten."""


def number_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round numbers in `[low, high]`, at most so many, each with its text."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in NICE if nice * power >= raw)
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    largest = max(abs(low), abs(high))
    # A step of 2.5 has one digit more than one of 2.
    smallest = math.floor(math.log10(step)) - (step / power == 2.5)
    if PLAIN[0] <= largest < PLAIN[1]:
        form = f".{max(0, -smallest)}f"
    else:
        form = f".{max(0, math.floor(math.log10(largest)) - smallest)}e"
    return [(place * step, format(place * step, form)) for place in places]


def time_ticks(start: int, end: int) -> list[tuple[int, str]]:
    """Round times (UTC) in `[start, end]`, each with its text: an hour, a day, a month or a year."""
    step = next((step for step in STEPS if (end - start) // step < MOST_TIMES), None)
    if step is None:
        return _month_ticks(start, end)
    if step >= DAY:
        return [(at, f"{datetime.fromtimestamp(at, UTC):%b %d}") for at in _days(start, end, step // DAY)]
    form = "%H:%M:%S" if step < MINUTE else "%H:%M"
    times = range(-(-start // step) * step, end + 1, step)
    return [(at, format(datetime.fromtimestamp(at, UTC), form if at % DAY else "%b %d")) for at in times]


def _days(start: int, end: int, every: int) -> list[int]:
    """Midnights of the 1st, and of each so many days after it that leaves room before the next 1st."""
    days = range(-(-start // DAY) * DAY, end + 1, DAY)
    dates = {at: datetime.fromtimestamp(at, UTC).day - 1 for at in days}
    return [at for at, day in dates.items() if day % every == 0 and day + every <= 31]


def _month_ticks(start: int, end: int) -> list[tuple[int, str]]:
    first, last = (_month(at) for at in (start, end))
    every = next((every for every in MONTHS if (last - first) // every < MOST_TIMES), MONTHS[-1])
    ticks = []
    for month in range(-(-first // every) * every, last + 1, every):
        at = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        if at.timestamp() >= start:
            ticks.append((int(at.timestamp()), format(at, "%b" if at.month > 1 else "%Y")))
    return ticks


def _month(at: int) -> int:
    """Months since the year 0."""
    date = datetime.fromtimestamp(at, UTC)
    return date.year * 12 + date.month - 1
