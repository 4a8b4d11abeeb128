"""A bar that was released exists: no lost hot store, eviction, withdrawal or forgetful exchange undoes it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quirks.conftest import NOW

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
DAY_ONE = (START, START + DAY)
ALL = Market("BTC/USDT", 60_000.0, listed=START - 90 * DAY)
SettingsFor = Callable[..., Settings]


@pytest.fixture
def stage(settings_for: SettingsFor) -> Callable[[Sandbox], sa.Seamless]:
    """Opens a pipeline on an exchange; each has stores at the same places."""

    def opened(exchange: Sandbox) -> sa.Seamless:
        return sa.connect(settings_for({"binance": {"base_url": exchange.url, "symbols": ["BTC/USDT"]}}))

    return opened


def forget(folder: Path) -> None:
    """Lose the hot store."""
    lost = list(folder.glob("hot.sqlite*"))
    assert lost
    for file in lost:
        file.unlink()


def keep_little(exchange: Sandbox, bars: int) -> None:
    """From now on the exchange serves only its newest bars."""
    exchange.book.markets["BTC/USDT"] = replace(ALL, retention=bars)


@pytest.mark.parametrize("lost", ["hot store", "the half of it", "listing"])
def test_materializing_without_the_hot_bars_takes_nothing_out_of_force(
    stage: Callable[[Sandbox], sa.Seamless], tmp_path: Path, lost: str
) -> None:
    with Sandbox(now=START + DAY + 3_600, markets=[ALL]).running() as exchange:
        with stage(exchange) as s:
            before = s.materialize(NODE, *DAY_ONE)
            truth = s.read(NODE, *DAY_ONE).to_arrow()
        forget(tmp_path)
        if lost == "listing":
            exchange.faults.add(Fault("hide", path="lines", start=0, end=START + 840, times=None))
        else:
            exchange.clock.set(NOW if lost == "hot store" else START + DAY + DAY // 2)
            keep_little(exchange, 1_440)
        with stage(exchange) as s:
            after = s.materialize(NODE, *DAY_ONE)
            assert (after.released, after.problems) == (True, ())
            assert after.dataset_fingerprint == before.dataset_fingerprint
            known = s.coverage(NODE, *DAY_ONE)
            assert (known.present, known.missing) == (truth.num_rows, 0)
            assert s.read(NODE, *DAY_ONE).to_arrow().equals(truth)
            assert len(s.releases(NODE)) == 1


@pytest.mark.parametrize("undo", ["withdraw", "rollback"])
def test_evicted_bars_are_not_forgotten_with_what_held_them(
    stage: Callable[[Sandbox], sa.Seamless], undo: str
) -> None:
    with Sandbox(now=START + DAY / 2, markets=[ALL]).running() as exchange, stage(exchange) as s:
        s.materialize(NODE, *DAY_ONE)
        exchange.clock.set(START + DAY + 3_600)
        s.materialize(NODE, *DAY_ONE)
        truth = s.read(NODE, *DAY_ONE).to_arrow()
        # How old a bar is the exchange's clock must say too.
        assert s.evict() == 0
        exchange.clock.set(START + 60 * DAY)
        assert s.evict() == truth.num_rows
        if undo == "withdraw":
            s.withdraw(NODE, "2025-01-01", reason="a mistake")
        else:
            s.rollback(NODE, reason="a mistake", to=1)
        exchange.clock.set(NOW)
        keep_little(exchange, 1_440)
        known = s.coverage(NODE, *DAY_ONE)
        assert (known.present, known.missing) == (truth.num_rows, 0)
        held = s.materialize(NODE, *DAY_ONE)
        assert not held.released and held.coverage.present == truth.num_rows
        sealed = held.partitions[0].sealed
        assert sealed is not None and sealed.ref.rows == truth.num_rows


def test_a_release_that_would_lose_bars_is_refused_and_says_how_many(
    stage: Callable[[Sandbox], sa.Seamless], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seamless_assets.flows.releasing import publish

    with Sandbox(now=START + DAY + 3_600, markets=[ALL]).running() as exchange, stage(exchange) as s:
        before = s.materialize(NODE, *DAY_ONE)
        known = publish.known_bars

        async def forgetful(*args: object) -> object:
            return (await known(*args)).slice(5)  # type: ignore[arg-type]

        monkeypatch.setattr(publish, "known_bars", forgetful)
        after = s.materialize(NODE, *DAY_ONE)
        assert not after.released and "would vanish (5 of 2025-01-01)" in after.problems[0]
        assert s.releases(NODE)[-1].as_of == before.as_of


def correct(exchange: Sandbox) -> None:
    """From now on every bar of the exchange has ten times its volume."""
    candles = exchange.book.candles

    def more(*args: Any) -> np.ndarray:
        bars = candles(*args).copy()
        bars["volume"] *= 10
        return bars

    exchange.book.candles = more  # type: ignore[method-assign]


def volumes(s: sa.Seamless) -> list[float]:
    found: list[float] = s.read(NODE, *DAY_ONE, columns=["volume"]).to_arrow()["volume"].to_pylist()
    return found


def test_a_worker_that_was_held_up_does_not_release_what_it_had_read_before(
    stage: Callable[[Sandbox], sa.Seamless],
) -> None:
    with (
        Sandbox(now=START + DAY + 3_600, markets=[ALL]).running() as exchange,
        stage(exchange) as slow,
        stage(exchange) as quick,
    ):
        store, is_sealed, may_go_on = slow.aio.ports.artifacts, threading.Event(), asyncio.Event()
        put = store.put_artifact

        async def held_up(*args: Any) -> Any:
            ref = await put(*args)
            is_sealed.set()
            await may_go_on.wait()
            return ref

        async def let_go() -> None:
            may_go_on.set()

        store.put_artifact = held_up  # type: ignore[method-assign]
        under_way = slow.aio.portal.start(slow.aio.materialize(NODE, *DAY_ONE))
        assert is_sealed.wait(60)
        correct(exchange)
        assert quick.materialize(NODE, *DAY_ONE).released
        new = volumes(quick)
        slow.aio.portal.start(let_go()).result()
        assert under_way.result(60).released
        assert (volumes(quick), len(quick.releases(NODE))) == (new, 1)


def test_a_hot_store_that_is_older_than_what_was_released_reverts_nothing(
    stage: Callable[[Sandbox], sa.Seamless], tmp_path: Path
) -> None:
    with Sandbox(now=START + DAY + 3_600, markets=[ALL]).running() as exchange:
        with stage(exchange) as s:
            s.materialize(NODE, *DAY_ONE)
        shutil.copy(tmp_path / "hot.sqlite", tmp_path / "backup")
        correct(exchange)
        with stage(exchange) as s:
            s.materialize(NODE, *DAY_ONE)
            new = volumes(s)
        forget(tmp_path)
        shutil.copy(tmp_path / "backup", tmp_path / "hot.sqlite")
        exchange.faults.add(Fault("status", code=503, path="lines", times=None))
        with stage(exchange) as s:
            assert s.materialize(NODE, *DAY_ONE).problems
            assert (volumes(s), len(s.releases(NODE))) == (new, 2)
            exchange.faults.clear()
            assert s.materialize(NODE, *DAY_ONE).released
            assert (volumes(s), len(s.releases(NODE))) == (new, 2)
