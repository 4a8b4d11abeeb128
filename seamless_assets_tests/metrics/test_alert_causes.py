"""Alerts made to fire, and to clear, by what they are for: a real pipeline, scraped by a real Prometheus.

The rules are those of the catalogue with shorter spans, so that nobody waits for an hour.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest
import yaml
from conftest import require_program
from support.served import served
from support.services import await_answer, free_port

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SeamlessError
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.levels import Levels
from seamless_assets.pipeline.wiring import metrics as wiring
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app
from seamless_assets.testing import START

SPANS = {"5m": "8s", "10m": "8s", "15m": "8s", "1h": "8s", "1d": "120s"}
NODE = "ohlcv:binance:BTC/USDT:1m"
FIRES_S, CLEARS_S = 90, 90
LIVE = sa.ComputeContext(domain="live", max_lag=1e12, min_coverage=0.0)

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]


def shorter_rules() -> dict[str, Any]:
    """The rules of the catalogue, an hour of which passes in seconds."""
    rules = alert_rules()
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(\[|offset )(\d+[mhd])", lambda m: m[1] + SPANS[m[2]], rule["expr"])
            rule["for"] = "1s"
    return rules


class Watch:
    """A Prometheus that scrapes a service."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, **query: str) -> Any:
        with urlopen(f"{self._url}/api/v1/{path}?{urlencode(query)}") as answer:
            return json.load(answer)["data"]

    def is_firing(self, name: str) -> bool:
        alerts = self.ask("alerts")["alerts"]
        return any(one["labels"]["alertname"] == name and one["state"] == "firing" for one in alerts)

    def await_scrapes(self) -> None:
        """Return once it has seen the service for a while."""
        query = "sum_over_time(up[8s])"
        while not any(float(one["value"][1]) > 4 for one in self.ask("query", query=query)["result"]):
            time.sleep(0.1)


@contextmanager
def watching(pipeline: sa.Seamless, folder: Path) -> Iterator[Watch]:
    """Serve a pipeline, and let a Prometheus scrape it every second."""
    program = require_program("prometheus", "what is counted is for it")
    file, held = wiring.metrics_file(pipeline.settings), Levels()
    app = service_app(
        pipeline, MachineLeases(folder / "l.sqlite"), lambda: wiring.scrape(file, held=held), held=held
    )
    with served(app) as url:
        target = {"targets": [urlsplit(url).netloc]}
        job = {"job_name": "s", "scrape_interval": "1s", "static_configs": [target]}
        (folder / "rules.yaml").write_text(yaml.safe_dump(shorter_rules()))
        config = {"scrape_configs": [job], "rule_files": [str(folder / "rules.yaml")]}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        address, log = f"127.0.0.1:{free_port()}", folder / "prometheus.log"
        words = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [program, *words, f"--web.listen-address={address}"], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            await_answer(server, f"http://{address}/-/ready", log)
            watch = Watch(f"http://{address}")
            watch.await_scrapes()
            yield watch
        finally:
            server.kill()
            server.wait()


class Trouble:
    """What goes wrong, one method for each alert; `mend` makes good what was done."""

    def __init__(self, pipeline: sa.Seamless, exchange: Sandbox, patch: pytest.MonkeyPatch) -> None:
        self.pipeline, self.exchange, self._patch = pipeline, exchange, patch
        self._windows = count()

    def mend(self) -> None:
        self.exchange.faults.clear()
        self._patch.undo()

    def fresh(self) -> tuple[int, int]:
        """An hour that nobody has asked for yet."""
        start = START + 3_600 * next(self._windows)
        return start, start + 3_600

    def read(self, start: int, end: int, **more: Any) -> None:
        with suppress(SeamlessError):
            self.pipeline.read(NODE, start, end, **{"context": LIVE, "strategy": "FAIL_FAST", **more})

    def storage_is_slow(self) -> None:
        artifacts = self.pipeline.aio.ports.artifacts
        load = type(artifacts).load_snapshot

        async def slowly(*arguments: Any) -> Any:
            await asyncio.sleep(0.6)
            return await load(artifacts, *arguments)

        self._patch.setattr(artifacts, "load_snapshot", slowly, raising=False)
        self.read(START, START + 60)

    def fills_fail(self) -> None:
        self.exchange.faults.add(Fault("status", path="klines", times=None, code=500))
        with suppress(SeamlessError):
            self.pipeline.backfill(NODE, *self.fresh())

    def reads_are_cut(self) -> None:
        self.exchange.faults.add(Fault("hang", path="klines", times=None))
        sla = {"total_deadline_ms": 100, "max_wait_storage_ms": 100, "max_wait_backfill_ms": 100}
        start, end = self.fresh()
        self.read(start, end, strategy="AUTO_BACKFILL", sla={**sla, "on_violation": "FAIL_FAST"})

    def bars_are_missing(self) -> None:
        self.read(*self.fresh())

    def bars_are_old(self) -> None:
        self.read(*self.newest(ago=3_600))

    def bars_are_there(self) -> None:
        self.exchange.clock.set(time.time())
        self.read(*self.newest(ago=0), strategy="AUTO_BACKFILL")

    def newest(self, ago: int) -> tuple[int, int]:
        """Two hours up to so long ago."""
        end = int(time.time()) // 60 * 60 - ago
        return end - 7_200, end

    def a_world_is_held_again_and_again(self) -> None:
        for lag in (1e12, 1.0):
            context = sa.ComputeContext("w", "live", max_lag=lag, min_coverage=0.0)
            self.read(*self.newest(ago=3_600), context=context)

    def state_is_damaged(self) -> None:
        file = self.pipeline.settings.seamless.state_dir / "fills.sqlite"
        portal, node = self.pipeline.aio.portal, NodeId.parse(NODE)
        portal.run(self._queue("add", node, Segment(*self.fresh()), 600.0))
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("UPDATE wanted_fills SET due_at = due_at + 1")
        portal.run(self._queue("count"))

    async def _queue(self, name: str, *arguments: Any) -> Any:
        return await getattr(self.pipeline.aio.ports.fill_queue, name)(*arguments)


Work = Callable[[Trouble], None]
CAUSES: dict[str, tuple[Work, Work | None]] = {
    "SeamlessStorageSlow": (Trouble.storage_is_slow, None),
    "SeamlessBackfillsFail": (Trouble.fills_fail, None),
    "SeamlessDeadlineExceeded": (Trouble.reads_are_cut, None),
    "SeamlessCoverageLow": (Trouble.bars_are_missing, Trouble.bars_are_there),
    "SeamlessLiveStale": (Trouble.bars_are_old, Trouble.bars_are_there),
    "SeamlessSessionsHeld": (Trouble.a_world_is_held_again_and_again, None),
    "SeamlessStateDamaged": (Trouble.state_is_damaged, None),
}
"""What makes an alert fire, again and again, and what a machine does that is well again."""


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {"symbols": ["BTC/USDT"], "timeframes": ["1m"], "start": "2025-01-01"}
    return settings_for({"binance": {**declared, "base_url": exchange.url}}, backfill={"max_attempts": 1})


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_an_alert_fires_by_its_cause_and_clears_without_it(
    settings: Settings, exchange: Sandbox, tmp_path: Path, name: str
) -> None:
    cause, health = CAUSES[name]
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as quicker:
        quicker.setattr(wiring, "HANDED_OVER_EVERY_S", 0.2)
        with sa.connect(settings) as pipeline:
            trouble = Trouble(pipeline, exchange, patch)
            trouble.bars_are_there()
            with watching(pipeline, tmp_path) as watch:
                assert not watch.is_firing(name)
                await_that(lambda: watch.is_firing(name), lambda: cause(trouble), FIRES_S)
                trouble.mend()
                well = health or (lambda _: None)
                await_that(lambda: not watch.is_firing(name), lambda: well(trouble), CLEARS_S)


def await_that(is_so: Callable[[], bool], meanwhile: Callable[[], None], seconds: float) -> None:
    """Do something again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it was not so in time"
        meanwhile()
        time.sleep(0.2)
