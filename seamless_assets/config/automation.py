"""The section `automation`: which schedules and sensors Dagster runs, and when."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from seamless_assets.config.fields import Section, Text, Truth, Whole, section

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
_ITEM = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[0-9]{1,2}))?", re.ASCII)
_LONGEST_MONTHS = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}


def cron(value: str) -> str:
    """Five fields of a cron line. Raises `ValueError`, also for a day that no month has."""
    words = value.split()
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"{value!r} is not a cron line; write minute, hour, day, month and day of the week: 30 3 * * *"
        )
    numbers = [_numbers(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    days, months = numbers[2], numbers[3]
    if words[2] != "*" and min(days) > max(_LONGEST_MONTHS[month] for month in months):
        raise ValueError(f"{value!r} names a day that none of its months has")
    return " ".join(words)


def _numbers(word: str, field: str, least: int, most: int, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field of a cron line stands for."""
    found: set[int] = set()
    for item in word.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{word!r} is no {field} of a cron line; write *, 5, 1-5, */15 or 1,15")
        low, high = match["low"], match["high"]
        step = int(match["step"] or 1)
        first = least if low is None else _number(low, field, least, most, names)
        last = most if low is None else _number(high or low, field, least, most, names)
        if not step or last < first or (match["step"] and low is not None and high is None):
            raise ValueError(f"{item!r} is no {field} of a cron line; write *, 5, 1-5, */15 or 1,15")
        found.update(range(first, last + 1, step))
    return found


def _number(word: str, field: str, least: int, most: int, names: tuple[str, ...]) -> int:
    number = names.index(word) + least if word in names else int(word) if word.isdecimal() else -1
    if not least <= number <= most:
        raise ValueError(f"{word!r} is no {field} of a cron line; give {least} to {most}")
    return number


def timezone(value: str) -> str:
    """The name of a time zone. Raises `ValueError`."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write UTC, or a name such as Europe/Berlin") from error
    return value


Cron = Annotated[str, Field(min_length=1), AfterValidator(cron)]
TimeZone = Annotated[Text, AfterValidator(timezone)]
Partitions = Annotated[Whole, Field(gt=0, le=1_000)]
Interval = Annotated[Whole, Field(ge=30, le=86_400)]
"""Seconds between two looks of a sensor; Dagster's daemon looks no oftener than every 30."""
Span = Annotated[Whole, Field(ge=60, le=30 * 86_400)]


class SwitchSettings(Section):
    """Whether it runs as soon as Dagster loads it; `automation.enabled` where it is not told."""

    enabled: Truth | None = None
    """Runs from the start, or not; as `automation.enabled` unless set."""


class RollingBackfillSettings(SwitchSettings):
    """Materialize what is not released of each node's last `partitions`."""

    cron: Cron = "20 * * * *"
    """When it looks."""
    partitions: Partitions = 3
    """So many of the last ones."""


class FinishingSettings(SwitchSettings):
    """Finish partitions that are over and released in part; those over for `give_up_s` are left alone."""

    cron: Cron = "10 * * * *"
    """When it looks."""
    give_up_s: Span = 7 * 86_400
    """Seconds after a partition's end until it is left alone."""


class ReverificationSettings(SwitchSettings):
    """Ask anew for the last `partitions` that are over: exchanges still correct their bars."""

    cron: Cron = "30 1 * * *"
    """When it looks."""
    partitions: Partitions = 2
    """So many of the last ones that are over."""


class VerificationSettings(SwitchSettings):
    """Prove every hash of every node."""

    cron: Cron = "0 4 * * 0"
    """When it proves."""


class InspectionSettings(SwitchSettings):
    """Judge how fresh every node is, and ask the exchange for a sample of its released bars anew."""

    cron: Cron = "0 6 * * *"
    """When it judges."""


class HousekeepingSettings(SwitchSettings):
    """Compact, remove files that nothing needs, drop hot bars past `hot_store.keep_days`."""

    cron: Cron = "30 3 * * 0"
    """When it cleans."""


class FillsSettings(SwitchSettings):
    """Fill what readers wanted and left behind; deliver what waits for the webhook."""

    cron: Cron = "*/5 * * * *"
    """When it looks."""


class FreshnessSettings(SwitchSettings):
    """Materialize nodes of which more than `max_lag_s` is settled and not released.

    Looked at every `interval_s`; what stays stale is asked for again after `retry_s`. At most the last
    `partitions` are asked for; what lies further back is the rolling backfill's, or yours.
    """

    interval_s: Interval = 60
    """Seconds between two looks."""
    max_lag_s: Span = 900
    """Seconds of settled bars that may be unreleased."""
    retry_s: Span = 300
    """Seconds until what stays stale is asked for again."""
    partitions: Partitions = 3
    """So many of the last ones, no more."""


class DerivationSettings(SwitchSettings):
    """Derive anew what was made of bars that changed, and the last `partitions` as their inputs are there.

    What failed is asked for again after `retry_s`, and ever more rarely.
    """

    interval_s: Interval = 60
    """Seconds between two looks."""
    retry_s: Span = 300
    """Seconds until what failed is asked for again; they double, up to six hours."""
    partitions: Partitions = 3
    """So many of the last ones of which nothing changed."""


class RecoverySettings(SwitchSettings):
    """Ask again, every `retry_s`, for what people asked for in vain while an exchange or a store was away.

    Runs that failed more than `give_up_s` ago are left alone.
    """

    interval_s: Interval = 60
    """Seconds between two looks."""
    retry_s: Span = 300
    """Seconds until it is asked for again."""
    give_up_s: Span = 86_400
    """Runs that failed so many seconds ago are left alone."""


class RunFailuresSettings(SwitchSettings):
    """Log each failed run over nodes: why it failed, and what to do."""

    interval_s: Interval = 60
    """Seconds between two looks."""


class AutomationSettings(Section):
    """The section `automation`. `enabled` is for all that do not say themselves; crons are in `timezone`.

    It is what they are when Dagster first sees them; whoever switches one in the UI decides from then on.
    """

    enabled: Truth = False
    """For all that do not say themselves."""
    timezone: TimeZone = "UTC"
    """Time zone of the crons."""
    rolling_backfill: RollingBackfillSettings = section()
    finishing: FinishingSettings = section()
    reverification: ReverificationSettings = section()
    verification: VerificationSettings = section()
    inspection: InspectionSettings = section()
    housekeeping: HousekeepingSettings = section()
    fills: FillsSettings = section()
    freshness: FreshnessSettings = section()
    derivation: DerivationSettings = section()
    recovery: RecoverySettings = section()
    run_failures: RunFailuresSettings = section()

    def is_on(self, switch: SwitchSettings) -> bool:
        """Whether one of its parts runs from the start."""
        return self.enabled if switch.enabled is None else switch.enabled
