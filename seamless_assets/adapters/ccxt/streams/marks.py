"""What exchanges say beside a candle's values: that it has closed. ccxt passes it on nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Marked = Callable[[Any, int], bool]
"""Whether a message marks the candle that opens at so many milliseconds as closed."""


def _binance(message: Any, ts: int) -> bool:
    candle = message.get("k")
    return isinstance(candle, dict) and candle.get("x") is True and candle.get("t") == ts


def _bybit(message: Any, ts: int) -> bool:
    rows = [row for row in _rows(message) if isinstance(row, dict)]
    return any(row.get("confirm") is True and row.get("start") == ts for row in rows)


def _okx(message: Any, ts: int) -> bool:
    rows = [row for row in _rows(message) if isinstance(row, list) and len(row) > 8]
    return any(row[8] == "1" and row[0] == str(ts) for row in rows)


_BY_EXCHANGE: Mapping[str, Marked] = {
    **dict.fromkeys(("binance", "binancecoinm", "binanceus", "binanceusdm"), _binance),
    **dict.fromkeys(("bybit", "bybiteu", "bybitid"), _bybit),
    **dict.fromkeys(("myokx", "okx", "okxus"), _okx),
}


def is_marked(exchange: str, message: Any, ts: int) -> bool | None:
    """Whether a message of an exchange marks the candle that opens at `ts` (ms) as closed.

    None where it marks none, as far as is known.
    """
    marked = _BY_EXCHANGE.get(exchange)
    return None if marked is None else isinstance(message, dict) and marked(message, ts)


def _rows(message: Any) -> Sequence[Any]:
    rows = message.get("data")
    return rows if isinstance(rows, list) else ()
