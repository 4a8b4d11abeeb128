"""What happens is logged and counted; counts are handed over to a file of the machine, to be scraped."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from pathlib import Path

from seamless_assets.adapters.machine.log import LOGGER
from seamless_assets.adapters.machine.numbers import MachineNumbers
from seamless_assets.config.load import Settings
from seamless_assets.core.sharing.events import Event
from seamless_assets.errors import BudgetUnavailable, MetricsUnavailable
from seamless_assets.flows.ports import Observer
from seamless_assets.metrics.catalogue import LASTING, Thresholds
from seamless_assets.metrics.exposition import exposition
from seamless_assets.metrics.levels import Levels
from seamless_assets.metrics.recording import budget_samples, samples
from seamless_assets.metrics.tally import Tally
from seamless_assets.pipeline.wiring.exchanges import BudgetLevels

HANDED_OVER_EVERY_S = 5.0


def metrics_file(settings: Settings) -> Path:
    """Where all processes of this machine count."""
    return settings.seamless.state_dir / "metrics.sqlite"


def thresholds_of(settings: Settings) -> Thresholds:
    """What the settings say of alerts."""
    watched = settings.seamless.observability
    return Thresholds(
        storage_wait_ms=watched.storage_wait_warn_ms,
        backfill_wait_ms=watched.backfill_wait_warn_ms,
        coverage=watched.coverage_ratio_threshold,
        completion=watched.backfill_completion_ratio_min,
        staleness_s=settings.domains.live.max_lag_sec,
    )


async def scrape(file: Path, levels: BudgetLevels | None = None, held: Levels | None = None) -> str:
    """What the processes of this machine have counted, what is free of budgets and what is `held`.

    Raises `MetricsUnavailable`.
    """
    numbers = MachineNumbers(file, lasting=LASTING)
    try:
        tally = Tally(await numbers.load())
    finally:
        await numbers.close()
    if levels is not None:
        # While the store of the budgets is away, another metric says so, and these are not there.
        with suppress(BudgetUnavailable):
            tally.record(budget_samples(await levels.load()))
    if held is not None:
        tally.record(await held.load())
    return exposition(tally)


class CountingObserver:
    """An `Observer` beside another: counts what it hears, hands that over every few seconds and at its end.

    A count that cannot be handed over stays for the next time, and is reported once; nobody waits for it.
    """

    def __init__(self, heard_by: Observer, file: Path) -> None:
        self._heard_by, self._numbers = heard_by, MachineNumbers(file, heard_by.notify, LASTING)
        self._tally, self._lock = Tally(), threading.Lock()
        self._handing_over: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_away = False

    def notify(self, event: Event) -> None:
        """Pass it on, and count it; from any thread."""
        self._heard_by.notify(event)
        with self._lock:
            self._tally.record(samples(event))
        if self._loop is None:
            # What another thread tells before the loop is known is handed over with what comes then.
            with suppress(RuntimeError):
                self._loop = asyncio.get_running_loop()
        if self._handing_over is None and self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._schedule)

    def start(self) -> None:
        """Hand over by tasks of the running loop, whichever loops others tell of something on."""
        self._loop = asyncio.get_running_loop()

    def _schedule(self) -> None:
        if self._loop is not None and self._handing_over is None:
            self._handing_over = self._loop.create_task(self._hand_over_soon())

    async def close(self) -> None:
        """Hand over what is left, and close the file."""
        self._loop = None
        if self._handing_over is not None:
            self._handing_over.cancel()
            await asyncio.wait({self._handing_over})
        await self.hand_over()
        await self._numbers.close()

    async def _hand_over_soon(self) -> None:
        await asyncio.sleep(HANDED_OVER_EVERY_S)
        self._handing_over = None
        await self.hand_over()

    async def hand_over(self) -> None:
        """Hand over now what was counted since the last time."""
        with self._lock:
            taken = self._tally.take()
        if not taken:
            return
        try:
            await self._numbers.add(taken.added, taken.gauges)
        except MetricsUnavailable as error:
            if not self._is_away:
                logging.getLogger(LOGGER).warning("%s", error)
            self._is_away = True
            with self._lock:
                self._tally.restore(taken)
        else:
            self._is_away = False
