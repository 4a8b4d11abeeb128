"""Points in time as people write them, and `as_of` as the release log writes it."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from reprlib import Repr
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from seamless_assets.core.calendar.timeframe import whole_number
from seamless_assets.errors import InvalidInput, InvalidTimestamp

OLDEST_MARKET = 1_230_940_800
"""2009-01-03, the first block; no crypto market is older, so a time before it is a slip."""
CLOCKS_DIFFER_S = 60.0
"""Clocks of machines may differ by less."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS = 1_000_000_000
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_DATE_AND_TIME = re.compile(r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d(-?\d)?)[Tt ]", re.ASCII)
_LONGEST_DATE = len("2025-W01-1")
_DIGITS_OF = {"%Y%m%d%H%M%S": 14, "%Y%m%d%H%M": 12}
_LONGEST_NUMBER = 40
"""Digits of a number that is worth being read."""
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):?([0-5]\d)?")
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_LIMIT = 4_100_000_000
"""Above this a number is no longer epoch seconds (year 2099)."""
_FIRST_PLAIN = 21_000_000
"""Of less than this many seconds eight digits may be meant as a date."""
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND


def epoch_micros(value: Any, name: str = "timestamp") -> int:
    """Epoch microseconds of epoch seconds (any real number), an ISO 8601 text or an aware datetime.

    A plain date means its midnight, UTC; what is finer than a microsecond is rounded down. Raises
    `InvalidTimestamp`, also for naive datetimes and for numbers that read as a date, such as 20250101.
    """
    return _nanos(value, name) // 1_000


def epoch_seconds(value: Any, name: str = "timestamp", *, round_up: bool = False) -> int:
    """Like `epoch_micros`, in whole seconds, rounded down unless told to round up.

    It is a time of a market, so it lies where numbers are epoch seconds too: in the years 1841 to 2098.
    """
    nanos = _nanos(value, name)
    seconds = -(-nanos // _NANOS) if round_up else nanos // _NANOS
    if abs(seconds) > _EPOCH_LIMIT:
        raise InvalidTimestamp(
            f"{name} {_shown(value)} is no time of a market; give one of the years 1841 to 2098", value=value
        )
    return seconds


def typed_instant(text: str) -> int | str:
    """An instant as a person types it: digits are epoch seconds, all else is a text to be read.

    Eight digits that read as a date are one: 20250131.
    """
    return int(text) if _DIGITS.fullmatch(text) and _date_of(text) is None else text


def instant_text(micros: int) -> str:
    """Epoch microseconds as `2025-01-31T00:00:00.000000Z`; texts sort as the instants do."""
    return _text(_EPOCH + micros * _MICROSECOND, "microseconds")


def is_instant_text(text: str) -> bool:
    """Whether it is what `instant_text` writes of an instant."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return moment.tzinfo is UTC and _text(moment, "microseconds") == text


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


def _nanos(value: Any, name: str) -> int:
    """Epoch nanoseconds, rounded down."""
    if type(value) is int and _FIRST_PLAIN <= value <= _EPOCH_LIMIT:  # what it nearly always is
        return value * _NANOS
    if isinstance(value, str):
        return _of_datetime(_from_text(value, name), name)
    if isinstance(value, datetime):
        return _of_datetime(value, name)
    if isinstance(value, date):
        return _of_datetime(datetime(value.year, value.month, value.day, tzinfo=UTC), name)
    return _of_number(_number(value, name), name)


def _number(value: Any, name: str) -> Fraction:
    """The number that a value is, exactly."""
    number = _exact(value)
    if number is None:
        raise InvalidTimestamp(
            f"{name} is {_shown(value)} ({type(value).__name__}); give epoch seconds, an ISO 8601 text or an "
            "aware datetime",
            value=value,
        )
    if abs(number) > _EPOCH_LIMIT:
        raise InvalidTimestamp(
            f"{name} {_shown(value)} is too large for epoch seconds: {_reading_of(int(number))}", value=value
        )
    return number


def _exact(value: Any) -> Fraction | None:
    """A real number without rounding; None for all that is none, booleans, NaN and infinities."""
    if isinstance(value, Decimal):
        is_readable = value.is_finite() and abs(value.adjusted()) < _LONGEST_NUMBER
        return Fraction(value) if is_readable else None
    if (whole := whole_number(value)) is not None:
        return Fraction(whole)
    if isinstance(value, Fraction):
        return value
    is_float = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return Fraction(float(value)) if is_float else None


def _of_number(seconds: Fraction, name: str) -> int:
    if seconds.denominator == 1 and (day := _date_of(str(seconds))) is not None:
        raise InvalidTimestamp(
            f"{name} {seconds} reads as a date, and as epoch seconds it would be "
            f"{seconds_text(int(seconds))}; write {name} as '{day.isoformat()}'",
            value=int(seconds),
        )
    return seconds.numerator * _NANOS // seconds.denominator


def _reading_of(number: int) -> str:
    """What a number that is too large for seconds may have been meant as."""
    digits = str(number) if abs(number) < 10**_LONGEST_NUMBER else ""
    for form in ("%Y%m%d%H%M%S", "%Y%m%d%H%M"):
        with suppress(ValueError):
            if len(digits) == _DIGITS_OF[form]:
                moment = datetime.strptime(digits, form).replace(tzinfo=UTC)
                return f"it reads as a date; write '{moment.isoformat(timespec='seconds')}'"
    return "divide milliseconds by 1,000, microseconds by 1,000,000"


def _date_of(digits: str) -> date | None:
    """The date that eight digits spell; None for all else."""
    if len(digits) != 8 or digits[:2] not in ("19", "20"):
        return None
    with suppress(ValueError):
        return date.fromisoformat(digits)
    return None


def _shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
        return f"of {value.bit_length()} bits"
    return _SHORT.repr(value)


def _from_text(text: str, name: str) -> datetime:
    stripped = text.strip()
    with suppress(ValueError):
        if len(stripped) <= _LONGEST_DATE:
            day = date.fromisoformat(stripped)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        # Python takes any sign between date and time.
        if _DATE_AND_TIME.match(stripped):
            return datetime.fromisoformat(stripped)
    hint = "epoch seconds go in as a number" if _DIGITS.fullmatch(stripped) else "write it like 2025-01-31"
    raise InvalidTimestamp(
        f"{name} {_shown(text)} is not ISO 8601; {hint}, a time like 2025-01-31T12:00:00Z", value=text
    )


def _of_datetime(moment: datetime, name: str) -> int:
    if moment != moment:
        raise InvalidTimestamp(f"{name} is {moment}, which is no time", value=moment)
    if moment.utcoffset() is None:
        raise InvalidTimestamp(
            f"{name} {moment} has no time zone; add one, such as Z or tzinfo=UTC", value=moment
        )
    micros = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise InvalidTimestamp(f"{name} {moment} lies outside the years 1 to 9999 of UTC", value=moment)
    # pandas counts nanoseconds beside the microseconds.
    return int(micros) * 1_000 + int(getattr(moment, "nanosecond", 0))
