"""Query strings: every parameter is used or refused, none comes twice, and times are read exactly."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from seamless_assets.core.calendar.instant import epoch_micros, typed_instant
from seamless_assets.errors import InvalidInput

LONGEST_TEXT = 2_000


def _instant(text: str) -> str:
    epoch_micros(typed_instant(text), "the time")
    return text


_NODE_FORM = r"^ohlcv:[a-z]+:[A-Z0-9]+/[A-Z]+(:[A-Z]+)?:[1-9][0-9]?[mhd]$"
_TIME_FORM = (
    r"^(1[0-9]{9}|20[0-2][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z)?)$"
)
"""The usual forms, for those who read the document; others that mean something are taken too."""
NodeText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=300,
        description="`ohlcv:{exchange}:{symbol}:{timeframe}`",
        examples=["ohlcv:binance:BTC/USDT:1m"],
        json_schema_extra={"pattern": _NODE_FORM},
    ),
]
Time = Annotated[
    str,
    Field(
        max_length=100,
        description="Epoch seconds, or ISO 8601 with its offset",
        examples=["2025-01-01T00:00:00Z"],
        json_schema_extra={"pattern": _TIME_FORM},
    ),
    AfterValidator(_instant),
]
World = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, examples=["w1"])]


class Query(BaseModel):
    """Parameters of one route; another one is refused."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Query):
    """No parameter at all."""


class OfNode(Query):
    """A node."""

    node: NodeText


class OfWindow(OfNode):
    """A node and a half-open window."""

    start: Time
    end: Time


class AsOf(OfNode):
    """A node's dataset: the newest, at `as_of`, or the one with a fingerprint."""

    as_of: Time | None = None
    dataset_fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


def once_each(request: Request) -> None:
    """Raise `InvalidInput` where a parameter comes twice: one of them would be ignored."""
    names = Counter(name for name, _ in request.query_params.multi_items())
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise InvalidInput(f"{twice[0][:100]} comes twice; say it once", value=twice[0][:100])


def instant(text: str | None) -> int | str | None:
    """A time of a query as the pipeline takes it."""
    return None if text is None else typed_instant(text)
