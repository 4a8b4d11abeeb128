"""Which series an exchange in memory has of a symbol, however its `series` are changed."""

from __future__ import annotations

from seamless_assets.core.node import NodeId
from seamless_assets.testing import InMemoryExchange


def _nodes(symbol: str, *frames: str) -> list[NodeId]:
    return [NodeId.parse(f"ohlcv:binance:{symbol}:{frame}") for frame in frames]


def test_finer_and_coarser_series_are_those_of_now() -> None:
    minute, hour, quarter, day = _nodes("BTC/USDT", "1m", "1h", "15m", "1d")
    others = _nodes("ETH/USDT", "1m", "5m", "4h")
    exchange = InMemoryExchange(series={node: {} for node in (hour, *others, minute)})
    assert exchange.coarser(minute) == (hour,)
    assert exchange.finer(hour) == (minute,)
    exchange.series[day] = {}
    assert exchange.coarser(minute) == (hour, day)
    exchange.series[quarter] = exchange.series.pop(hour)
    assert exchange.coarser(minute) == (quarter, day)
    assert exchange.finer(day) == (quarter, minute)
    exchange.series = {}
    assert exchange.coarser(minute) == exchange.finer(day) == ()
