"""Candles of which declared nodes come by a stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

import seamless_assets as sa
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.pages import Pages
from seamless_assets.service.dialects.visit import VISIT, Visit

PLAIN, DERIVED = (NodeId.parse(f"ohlcv:binance:{symbol}/USDT:1m") for symbol in ("BTC", "ETH"))


@pytest.mark.parametrize(("as_of", "is_streamed"), [(None, False), ("2025-01-10T00:00:00Z", True)])
def test_derived_nodes_are_streamed_in_worlds_of_the_past_alone(as_of: str | None, is_streamed: bool) -> None:
    settings = SimpleNamespace(starts={PLAIN: 0, DERIVED: 0}, recipes={DERIVED: None})
    pipeline = cast(sa.Seamless, SimpleNamespace(settings=settings, aio=None))
    data, minute = DeclaredData(pipeline, "binance", cast(Pages, None)), Timeframe("1m")
    token = VISIT.set(Visit(0.0, as_of))
    try:
        assert data.is_streamed("ETH/USDT", minute) is is_streamed
        assert data.is_streamed("BTC/USDT", minute)
        assert not data.is_streamed("BTC/USDT", Timeframe("5m")) and not data.is_streamed("BTC/USDT", None)
    finally:
        VISIT.reset(token)
