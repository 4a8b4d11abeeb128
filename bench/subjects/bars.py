"""`conform` beside bare pandera on the clean bars, `fingerprint` beside SHA-256 of the columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from bench.places import reach_support
from bench.running import Bench, Case
from bench.worlds.bars import dirty_bars, market_bars
from bench.worlds.releases import table_of_frame
from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.releases.fingerprint import fingerprint

NODE = "ohlcv:binance:BTC/USDT:1m"
ROUNDS = 9


def cases(bench: Bench) -> Iterator[Case]:
    """Everything in this process."""
    reach_support()
    from support.bars_model import Bars

    clean = market_bars(bench.size(1_000_000, 2_000))
    table = table_of_frame(clean)
    dirty, with_nan = (dirty_bars(clean, blocked=blocked) for blocked in (False, True))
    columns = [np.ascontiguousarray(clean[name]) for name in clean]

    def validate() -> None:
        Bars.validate(clean)

    def bare_hash() -> None:
        digest = hashlib.sha256()
        for column in columns:
            digest.update(column.data)
        digest.hexdigest()

    for name, given in (("pandas", clean), ("arrow", table), ("dirty", dirty), ("nan", with_nan)):
        yield Case(f"bars.conform-{name}", lambda given=given: conform(given) and None, validate, ROUNDS)
    for name, given in (("pandas", clean), ("arrow", table)):
        yield Case(
            f"bars.fingerprint-{name}",
            lambda given=given: fingerprint(given, node_id=NODE, interval=60) and None,
            bare_hash,
            ROUNDS,
        )
