"""A real Prometheus scrapes the service with a token, reads every metric and loads every rule."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import yaml
from conftest import ROOT, require_program
from metrics.test_metrics import HEARD
from support.served import served
from support.services import await_answer, free_port

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.wire.views import BudgetView
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.catalogue import CATALOGUE
from seamless_assets.metrics.exposition import exposition
from seamless_assets.metrics.levels import Levels
from seamless_assets.metrics.recording import budget_samples, samples
from seamless_assets.metrics.tally import Tally
from seamless_assets.service.app import service_app
from seamless_assets.testing import START, InMemoryExchange, connect_in_memory, random_walk

TOKEN, WAIT_S = "scraper", 60


def answer(url: str, path: str, **query: str) -> Any:
    with urlopen(f"{url}/api/v1/{path}?{urlencode(query)}") as response:
        return json.load(response)["data"]


def test_prometheus_scrapes_the_service_and_knows_every_metric_and_rule(tmp_path: Path) -> None:
    prometheus = require_program("prometheus", "what is counted is for it")
    tally = Tally()
    for event in HEARD:
        tally.record(samples(event))
    tally.record(budget_samples([BudgetView("okx", "rl:ccxt:okx:", 7.0, 20.0, 2.0)]))

    held = Levels()

    async def scrape() -> str:
        tally.record(await held.load())
        return exposition(tally)

    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    settings = ServiceSettings.model_validate({"tokens": {"p": {"sha256": hashed, "scopes": ["read"]}}})
    leases = MachineLeases(tmp_path / "leases.sqlite")
    exchange = InMemoryExchange.serving({"ohlcv:binance:BTC/USDT:1m": random_walk(START, START + 600)})
    with (
        connect_in_memory(exchange) as pipeline,
        served(service_app(pipeline, leases, scrape, settings, held=held)) as url,
    ):
        target = {"targets": [urlsplit(url).netloc]}
        job = {
            "job_name": "seamless",
            "scrape_interval": "1s",
            "static_configs": [target],
            "authorization": {"credentials": TOKEN},
        }
        config = tmp_path / "prometheus.yaml"
        rules = [str(ROOT / "ops" / "prometheus" / "alerts.yaml")]
        config.write_text(yaml.safe_dump({"scrape_configs": [job], "rule_files": rules}))
        address, log = f"127.0.0.1:{free_port()}", tmp_path / "prometheus.log"
        words = [prometheus, f"--config.file={config}", f"--web.listen-address={address}"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [*words, f"--storage.tsdb.path={tmp_path / 'data'}"], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            await_answer(server, f"http://{address}/-/ready", log)
            deadline = time.monotonic() + WAIT_S
            while not answer(f"http://{address}", "query", query="up == 1")["result"]:
                assert time.monotonic() < deadline, answer(f"http://{address}", "targets")
            known = set(answer(f"http://{address}", "label/__name__/values"))
            groups = answer(f"http://{address}", "rules")["groups"]
        finally:
            server.kill()
            server.wait()
            asyncio.run(leases.close())
    suffix = {"histogram": "_count"}
    assert {metric.name + suffix.get(metric.kind, "") for metric in CATALOGUE} <= known
    assert len(groups[0]["rules"]) == len(alert_rules()["groups"][0]["rules"])
