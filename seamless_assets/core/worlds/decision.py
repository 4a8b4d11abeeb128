"""What an outside world service decides of a world: what it may do, and for how long that holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.reading.context import MODES, Mode
from seamless_assets.core.reading.verdict import UNAVAILABLE
from seamless_assets.errors import WorldServiceUnavailable

DRY_MODES: frozenset[Mode] = frozenset({"paper", "shadow"})
"""Modes whose reads go by the rules of a dry run."""
LONGEST_TTL_S = 86_400.0
_TTL = re.compile(r"(?P<number>\d{1,9})(?P<unit>ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision with its reason; it holds for `ttl` seconds after it was asked for."""

    mode: Mode
    reason: str
    as_of: str | None
    ttl: float
    etag: str


def unavailable(why: str) -> Decision:
    """What stands where no decision can be had: compute-only, never live."""
    return Decision("compute-only", f"{UNAVAILABLE}: {why}", None, 0.0, "")


def parse_decision(answer: Any) -> Decision:
    """The decision of a service's JSON answer. Raises `WorldServiceUnavailable` for one that is none."""
    if not isinstance(answer, Mapping):
        raise _odd(f"it is {str(answer)[:100]!r} and no object")
    mode = answer.get("effective_mode")
    if mode not in MODES:
        raise _odd(f"effective_mode is {str(mode)[:100]!r} and not one of {', '.join(MODES)}")
    texts = {name: answer.get(name, "") for name in ("reason", "etag")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise _odd(f"{name} is {str(text)[:100]!r} and no text")
    as_of = answer.get("as_of")
    try:
        bound = None if as_of is None else instant_text(epoch_micros(as_of, "as_of"))
    except ValueError as error:
        raise _odd(str(error)) from error
    return Decision(cast("Mode", mode), texts["reason"], bound, _seconds(answer.get("ttl")), texts["etag"])


def _seconds(ttl: Any) -> float:
    found = _TTL.fullmatch(ttl) if isinstance(ttl, str) else None
    if found is None:
        raise _odd(f"ttl is {str(ttl)[:100]!r}; a time such as 300s is wanted")
    return min(int(found["number"]) * _UNITS[found["unit"]], LONGEST_TTL_S)


def _odd(what: str) -> WorldServiceUnavailable:
    return WorldServiceUnavailable(f"the answer is no decision: {what}")
