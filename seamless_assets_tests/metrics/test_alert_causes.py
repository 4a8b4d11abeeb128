"""Alerts made to fire, and to clear, by what they are for: a real pipeline, scraped by a real Prometheus.

The rules are those of the catalogue with shorter spans, so that nobody waits for an hour, and with smaller
numbers where a case would last minutes otherwise.
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
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import require_program
from support.receiver import SECRET, Receiver, serving
from support.served import served
from support.services import RedisServer, await_answer, free_port

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases import fingerprint as fingerprints
from seamless_assets.errors import SeamlessError
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.levels import Levels
from seamless_assets.pipeline.wiring import metrics as wiring
from seamless_assets.pipeline.wiring.exchanges import BudgetLevels
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app
from seamless_assets.testing import START

SPANS = {"5m": "8s", "10m": "8s", "15m": "8s", "1h": "8s", "1d": "120s"}
SMALLER = {"> 5000": "> 500", "> 120000": "> 500", "waiting > 500": "waiting > 5"}
"""Milliseconds of slow work, and messages that wait."""
NODE = "ohlcv:binance:BTC/USDT:1m"
FIRES_S, CLEARS_S = 90, 90
HASTY = {"total_deadline_ms": 500, "on_violation": "FAIL_FAST"}
LIVE = sa.ComputeContext(domain="live", max_lag=1e12, min_coverage=0.0)


def shorter_rules() -> dict[str, Any]:
    """The rules of the catalogue, an hour of which passes in seconds."""
    rules = alert_rules()
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(\[|offset )(\d+[mhd])", lambda m: m[1] + SPANS[m[2]], rule["expr"])
            for number, smaller in SMALLER.items():
                rule["expr"] = rule["expr"].replace(number, smaller)
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
    held = Levels()

    async def scrape() -> str:
        levels = BudgetLevels(pipeline.settings)
        try:
            return await wiring.scrape(wiring.metrics_file(pipeline.settings), levels, held)
        finally:
            await levels.close()

    app = service_app(pipeline, MachineLeases(folder / "l.sqlite"), scrape, held=held)
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

    def __init__(
        self,
        pipeline: sa.Seamless,
        exchange: Sandbox,
        patch: pytest.MonkeyPatch,
        redis: RedisServer,
        receiver: Receiver,
    ) -> None:
        self.pipeline, self.exchange, self._patch = pipeline, exchange, patch
        self._redis, self._receiver = redis, receiver
        self._windows = count()

    def mend(self) -> None:
        self.exchange.faults.clear()
        self._receiver.statuses.clear()
        self._patch.undo()

    def fresh(self) -> tuple[int, int]:
        """An hour that nobody has asked for yet."""
        start = START + 3_600 * next(self._windows)
        return start, start + 3_600

    def read(self, start: int, end: int, **more: Any) -> None:
        with suppress(SeamlessError):
            self.pipeline.read(NODE, start, end, **{"context": LIVE, "strategy": "FAIL_FAST", **more})

    def storage_is_slow(self) -> None:
        self._slow_down("load_snapshot")
        self.read(START, START + 60)

    def sealing_is_slow(self) -> None:
        self._slow_down("put_artifact")
        self.a_day_is_released()

    def _slow_down(self, name: str) -> None:
        artifacts = self.pipeline.aio.ports.artifacts
        work = getattr(type(artifacts), name)

        async def slowly(*arguments: Any) -> Any:
            await asyncio.sleep(0.6)
            return await work(artifacts, *arguments)

        self._patch.setattr(artifacts, name, slowly, raising=False)

    def fills_are_slow(self) -> None:
        self.exchange.faults.add(Fault("delay", path="klines", times=None, seconds=0.7))
        self.read(*self.fresh(), strategy="AUTO_BACKFILL")

    def the_newest_bars_are_slow(self) -> None:
        self.exchange.faults.add(Fault("delay", path="klines", times=None, seconds=1.0))
        start, _ = self.fresh()
        self.read(start, start + 120, strategy="SEAMLESS")

    def a_day_is_released(self) -> None:
        with suppress(SeamlessError):
            self.pipeline.materialize(NODE, *self.fresh_day())

    def fresh_day(self) -> tuple[int, int]:
        start = START // 86_400 * 86_400 + 86_400 * next(self._windows)
        return start, start + 86_400

    def hours_are_withheld(self) -> None:
        start, end = self.fresh_day()
        withheld = Fault("hide", path="klines", times=None, start=start + 3_600, end=end - 3_600)
        self.exchange.faults.add(withheld)
        with suppress(SeamlessError):
            self.pipeline.materialize(NODE, start, end)

    def two_contents_have_one_fingerprint(self) -> None:
        """As if SHA-256 were broken."""
        digest = SimpleNamespace(update=lambda _: None, hexdigest=lambda: "0" * 64)
        self._patch.setattr(fingerprints, "hashlib", SimpleNamespace(sha256=lambda _: digest))
        day = self.fresh_day()
        with suppress(SeamlessError):
            self.pipeline.backfill(NODE, *day)
            self.pipeline.publish(NODE, *day)
            opens = np.arange(*day, 60)
            bars = {"ts": opens, **dict.fromkeys(("open", "high", "low", "close", "volume"), 100.0)}
            self.pipeline.ingest(pd.DataFrame(bars), NODE, revisions="confirm")

    def more_is_asked_for_than_the_budget_has(self) -> None:
        self.read(*self.fresh(), strategy="AUTO_BACKFILL", sla=HASTY)

    def callers_give_up(self) -> None:
        portal = self.pipeline.aio.portal
        with suppress(SeamlessError, TimeoutError):
            portal.run(asyncio.wait_for(self.pipeline.aio.backfill(NODE, *self.fresh_day()), 0.5))

    def redis_is_lost(self) -> None:
        self._redis.kill()
        self.redis_is_asked()

    def redis_is_back(self) -> None:
        if not self._redis.is_running:
            self._redis.start()
        self.redis_is_asked()

    def redis_is_asked(self) -> None:
        with suppress(SeamlessError):
            self.pipeline.backfill(NODE, *self.fresh())

    def the_receiver_refuses(self) -> None:
        self._receiver.statuses[:] = [503] * 1_000
        self.a_new_world_is_held()

    def a_new_world_is_held(self) -> None:
        context = sa.ComputeContext(f"w{next(self._windows)}", "live", max_lag=1.0, min_coverage=0.0)
        self.read(*self.newest(ago=3_600), context=context)

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


@dataclass(frozen=True)
class Case:
    """What makes an alert fire, again and again, and what a machine does that is well again."""

    cause: Callable[[Trouble], None]
    health: Callable[[Trouble], None] = lambda _: None
    settings: dict[str, Any] = field(default_factory=dict)
    """What stands below `seamless:` for it."""


FEW_TOKENS = {"tokens_per_interval": 20, "interval_ms": 10_000, "burst_tokens": 20, "reserved_share": 0.0}
CASES = {
    "SeamlessStorageSlow": Case(Trouble.storage_is_slow),
    "SeamlessBackfillSlow": Case(Trouble.fills_are_slow),
    "SeamlessLiveSlow": Case(Trouble.the_newest_bars_are_slow),
    "SeamlessBackfillsFail": Case(Trouble.fills_fail),
    "SeamlessDeadlineExceeded": Case(Trouble.reads_are_cut),
    "SeamlessCoverageLow": Case(Trouble.bars_are_missing, Trouble.bars_are_there),
    "SeamlessLiveStale": Case(Trouble.bars_are_old, Trouble.bars_are_there),
    "SeamlessSessionsHeld": Case(Trouble.a_world_is_held_again_and_again),
    "SeamlessStateDamaged": Case(Trouble.state_is_damaged),
    "SeamlessConformanceSpike": Case(Trouble.hours_are_withheld),
    "SeamlessPublishSlow": Case(Trouble.sealing_is_slow),
    "SeamlessFingerprintCollision": Case(Trouble.two_contents_have_one_fingerprint),
    "SeamlessRateBudgetShort": Case(
        Trouble.more_is_asked_for_than_the_budget_has, settings={"rate_limit": FEW_TOKENS}
    ),
    "SeamlessRequestsDropped": Case(Trouble.callers_give_up, settings={"rate_limit": FEW_TOKENS}),
    "SeamlessSharedServiceLost": Case(Trouble.redis_is_lost, Trouble.redis_is_back),
    "SeamlessWebhookAway": Case(Trouble.the_receiver_refuses, Trouble.a_new_world_is_held),
    "SeamlessWebhookBacklog": Case(Trouble.the_receiver_refuses, Trouble.a_new_world_is_held),
}


def test_every_alert_has_its_cause() -> None:
    alerts = {rule["alert"] for group in alert_rules()["groups"] for rule in group["rules"]}
    assert CASES.keys() == alerts


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as running:
        yield running


def settings_of(case: Case, folder: Path, exchange: Sandbox, redis: RedisServer, hook: Receiver) -> Settings:
    declared = {"symbols": ["BTC/USDT"], "timeframes": ["1m"], "start": "2025-01-01"}
    limits = {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000}
    return settings_from_mapping(
        {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
                "backfill": {"retry_backoff_ms": 1, "max_attempts": 1},
                **case.settings,
                "rate_limit": {"redis_dsn": redis.url, **limits, **case.settings.get("rate_limit", {})},
            },
            "exchanges": {"binance": {**declared, "base_url": exchange.url}},
            "environment": {"world_webhook_url": hook.url, "world_webhook_secret": SECRET},
        },
        base=folder,
        environ={},
    )


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(CASES))
def test_an_alert_fires_by_its_cause_and_clears_without_it(
    exchange: Sandbox, own_redis: RedisServer, receiver: Receiver, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    settings = settings_of(case, tmp_path, exchange, own_redis, receiver)
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as quicker:
        quicker.setattr(wiring, "HANDED_OVER_EVERY_S", 0.2)
        with sa.connect(settings) as pipeline:
            trouble = Trouble(pipeline, exchange, patch, own_redis, receiver)
            trouble.bars_are_there()
            with watching(pipeline, tmp_path) as watch:
                await_that(lambda: not watch.is_firing(name), lambda: case.health(trouble), CLEARS_S)
                await_that(lambda: watch.is_firing(name), lambda: case.cause(trouble), FIRES_S)
                trouble.mend()
                await_that(lambda: not watch.is_firing(name), lambda: case.health(trouble), CLEARS_S)


def await_that(is_so: Callable[[], bool], meanwhile: Callable[[], None], seconds: float) -> None:
    """Do something again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it was not so in time"
        meanwhile()
        time.sleep(0.2)
