"""What a call asks for is worked out once, where its arguments mean the same whenever they come again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import seamless_assets as sa
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.errors import InvalidInput
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
TURN = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
"""That clock stands there twice, and Python holds both for the same."""


@pytest.fixture
def face(tmp_path: Path) -> Any:
    declared = {
        "seamless": {"artifact": {"object_store_uri": "./artifacts"}, "state_dir": "./state"},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"], "start": START}},
    }
    return sa.connect(settings_from_mapping(declared, base=tmp_path, environ={})).aio


def asked(face: Any, **arguments: Any) -> ReadRequest:
    usual = {"node": NODE, "start": START, "end": START + DAY, "context": None, "strategy": None}
    usual |= {"sla": None, "columns": None, "limit": None, "fill": None}
    request: ReadRequest = face._request(**{**usual, **arguments})
    return request


def test_plain_arguments_make_one_request(face: Any) -> None:
    live = sa.ComputeContext(domain="live", max_lag=60)
    for arguments in ({}, {"context": live, "sla": "baseline"}, {"limit": 5, "columns": "close"}):
        assert asked(face, **arguments) is asked(face, **arguments)
    assert asked(face, context=live).sla is not asked(face).sla
    assert asked(face, context=live).context is live
    assert asked(face, sla={"on_violation": "HOLD"}).sla.on_violation == "HOLD"
    assert asked(face, columns=["close", "ts"]).columns == ("close", "ts")


def test_what_equals_a_plain_argument_and_is_none_is_judged_by_itself(face: Any) -> None:
    for plain, other in (({"limit": 1}, {"limit": True}), ({"start": START}, {"start": True})):
        asked(face, **plain)
        with pytest.raises(InvalidInput):
            asked(face, **other)
    for _ in range(2):
        first, second = (asked(face, end=None, start=TURN.replace(fold=fold)).start for fold in (0, 1))
        assert first is not None and second is not None and second - first == 3_600


def test_the_window_of_a_request_follows_what_is_released(face: Any) -> None:
    request = asked(face, end=None)
    assert request.window(START, START + DAY) == (START, START + DAY)
    assert request.window(START, START + 2 * DAY) == (START, START + 2 * DAY)
    assert replace(request, start=START + 60).window(START, START + DAY) == (START + 60, START + DAY)
