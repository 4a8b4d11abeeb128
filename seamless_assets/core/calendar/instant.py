"""Points in time as people write them, and `as_of` as the release log writes it."""

from __future__ import annotations

import operator
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any, SupportsIndex
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from seamless_assets.errors import InvalidInput, InvalidTimestamp

OLDEST_MARKET = 1_230_940_800
"""2009-01-03, the first block; no crypto market is older, so a time before it is a slip."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):?([0-5]\d)?")
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_LIMIT = 4_100_000_000
"""Above this a number is no longer epoch seconds (year 2099)."""
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND


def epoch_micros(value: Any, name: str = "timestamp") -> int:
    """Epoch microseconds of epoch seconds, an ISO 8601 text or an aware datetime.

    A plain date means its midnight, UTC. Raises `InvalidTimestamp`, also for naive datetimes.
    """
    if isinstance(value, str):
        return _micros(_from_text(value, name), name)
    if isinstance(value, datetime):
        return _micros(value, name)
    if isinstance(value, date):
        return _micros(datetime(value.year, value.month, value.day, tzinfo=UTC), name)
    seconds = _whole(value)
    if seconds is None:
        raise InvalidTimestamp(
            f"{name} is {value!r}; give whole epoch seconds, an ISO 8601 text or an aware datetime",
            value=value,
        )
    if abs(seconds) > _EPOCH_LIMIT:
        raise InvalidTimestamp(
            f"{name} {seconds} is too large for epoch seconds; divide by 1000?", value=value
        )
    return seconds * 1_000_000


def epoch_seconds(value: Any, name: str = "timestamp", *, round_up: bool = False) -> int:
    """Like `epoch_micros`, in whole seconds, rounded down unless told to round up."""
    micros = epoch_micros(value, name)
    return -(-micros // 1_000_000) if round_up else micros // 1_000_000


def typed_instant(told: str) -> int | str:
    """An instant as a person types it: digits are epoch seconds, all else is a text to be read."""
    return int(told) if _DIGITS.fullmatch(told) else told


def instant_text(micros: int) -> str:
    """Epoch microseconds as `2025-01-31T00:00:00.000000Z`; texts sort as the instants do."""
    return _text(_EPOCH + micros * _MICROSECOND, "microseconds")


def seconds_text(ts: int) -> str:
    """Epoch seconds as `2025-01-31T00:00:00Z`."""
    return _text(_EPOCH + timedelta(seconds=ts), "seconds")


def zone_of(zone: Any) -> tzinfo:
    """A time zone of its IANA name, an offset such as `+08:00`, or a tzinfo. Raises `InvalidInput`."""
    if isinstance(zone, tzinfo):
        return zone
    offset = _OFFSET.fullmatch(zone) if isinstance(zone, str) else None
    if offset is not None:
        sign, hours, minutes = offset.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(east if sign == "+" else -east)
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError) as error:
        raise InvalidInput(
            f"tz is {zone!r}, which is no time zone; write one such as Europe/Berlin or +08:00", value=zone
        ) from error


def _text(moment: datetime, precision: str) -> str:
    # Unlike strftime's, its years have four digits.
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, SupportsIndex):
        return operator.index(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _from_text(text: str, name: str) -> datetime | date:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidTimestamp(
            f"{name} {text!r} is not ISO 8601; write it like 2025-01-31 or 2025-01-31T12:00:00Z", value=text
        ) from error
    is_plain_date = len(text.strip()) <= 10
    return moment.replace(tzinfo=UTC) if is_plain_date else moment


def _micros(moment: datetime | date, name: str) -> int:
    if moment != moment:
        raise InvalidTimestamp(f"{name} is {moment}, which is no time", value=moment)
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidTimestamp(
            f"{name} {moment} has no time zone; add one, such as Z or tzinfo=UTC", value=moment
        )
    micros = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise InvalidTimestamp(f"{name} {moment} lies outside the years 1 to 9999 of UTC", value=moment)
    return micros
