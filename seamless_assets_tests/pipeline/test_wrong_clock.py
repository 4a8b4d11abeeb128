"""A machine whose clock was wrong once: once it is right, all goes on, and what changed meanwhile lands."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1h"
WINDOW = (START, START + 5 * DAY)
HIDDEN = START + 2 * DAY
real_time = time.time


@pytest.mark.parametrize("is_kept", [True, False], ids=["set right while running", "right for a new process"])
@pytest.mark.parametrize("days", [1 / 24, 40, 3_650, -3_650])
def test_work_goes_on_once_the_clock_is_right(
    exchange: Sandbox,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    days: float,
    is_kept: bool,
) -> None:
    settings = settings_for(
        {"binance": {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"]}}
    )
    exchange.faults.add(Fault("hide", path="klines", start=HIDDEN, end=HIDDEN + 3_600, times=None))
    monkeypatch.setattr(time, "time", lambda: real_time() + days * DAY)
    with sa.connect(settings) as s:
        wrong = s.materialize(NODE, *WINDOW)
        assert wrong.released == (days > 0)
        exchange.faults.clear()
        monkeypatch.setattr(time, "time", real_time)
        with sa.connect(settings) as fresh:
            right = (s if is_kept else fresh).materialize(NODE, *WINDOW)
            assert (right.released, right.problems) == (True, ())
            assert right.coverage.present == right.coverage.expected == 10 * 24 - 2
            known = fresh.read(NODE, *WINDOW).to_arrow()
            assert known.num_rows == 5 * 24
            again = fresh.materialize(NODE, *WINDOW)
            assert again.dataset_fingerprint == right.dataset_fingerprint
