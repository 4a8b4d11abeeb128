"""Metrics: one catalogue for names, labels and alerts; counts of short processes add up, not pile up."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, require_program
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.adapters.machine.numbers import MAX_SERIES, MachineNumbers
from seamless_assets.core.sharing import events
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.catalogue import BY_NAME, CATALOGUE, LASTING
from seamless_assets.metrics.dashboards import BOARDS
from seamless_assets.metrics.exposition import exposition
from seamless_assets.metrics.recording import Sample, samples
from seamless_assets.metrics.tally import Tally
from seamless_assets.pipeline.wiring.metrics import scrape
from seamless_assets.service.metrics import metrics_app

RULES = ROOT / "ops" / "prometheus" / "alerts.yaml"
READ = events.ReadEvent(
    node_id="ohlcv:binance:BTC/USDT:1m",
    world_id="w1",
    domain="live",
    verdict="PARTIAL",
    phases={"storage_wait": 12.0, "backfill_wait": 700.0, "live_wait": 5.0, "total": 720.0},
    violations=("backfill_wait", "total"),
    deadline_ms=1_500,
    coverage_ratio=0.9,
    rows=90,
    staleness_seconds=33.5,
)
HEARD: tuple[events.Event, ...] = (
    READ,
    events.SessionEvent("downgraded", 1.0, "w1", "live", "n", "ACTIVE", "HOLD", ("lag: x",), None, None),
    events.BackfillEvent("complete", "ohlcv:okx:BTC/USDT:1m", 0, 60, "w", 1, 40.0, 60),
    events.BackfillEvent("fail", "ohlcv:okx:BTC/USDT:1m", 0, 60, "w", 1, 40.0, 0, "away"),
    events.DroppedRequest("rl:ccxt:okx:", 100.0, "cancelled"),
    events.CoordinationEvent("leases", False, "away"),
    events.LeaseEvent("claim", "key", 1, "w"),
    events.DamagedState("hot.sqlite", "a block"),
    events.StreamEvent("streams", "okx"),
    events.StreamEvent("bars", "okx", "closed_flag", "ohlcv:okx:BTC/USDT:1m", 1),
    events.StreamEvent("fault", "okx", "disconnected", reason="closed with 1006"),
    events.WebhookEvent(False, "w1", "msg_1", 2, "it answers 503", waiting=7),
    events.SealEvent("ohlcv:okx:BTC/USDT:1m", 60, "2025-01-01", "sha256:0", 1440, 9_000, 12.0, {"gap": 3}, 1),
    events.SealEvent("ohlcv:okx:BTC/USDT:1m", 60, "2025-01-01", "sha256:0", 1440, 0, 1.0, {}, 0, True),
    events.ImportEvent("ohlcv:okx:BTC/USDT:1m", 60, 0, 600, 12, 10, 0, {"duplicate_ts": 2}, 1, "ann"),
)


DERIVED = {
    *("backfill_completion_ratio", "seamless_rl_tokens_available", "seamless_rl_tokens_capacity"),
    *(set(BOARDS["service"]) - {"seamless_webhook_messages_waiting"}),
}
"""Metrics that are drawn from others, or asked for, when they are shown."""


async def got(app: FastAPI, path: str) -> tuple[int, str]:
    """Status and body of a GET, without a server."""
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:]).decode()


def test_every_sample_is_of_the_catalogue_and_every_metric_has_a_source() -> None:
    recorded = [sample for event in HEARD for sample in samples(event)]
    assert {sample.metric for sample in recorded} == set(BY_NAME) - DERIVED
    assert all(len(sample.labels) == len(BY_NAME[sample.metric].labels) for sample in recorded)
    assert len(BY_NAME) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert (metric.kind == "histogram") is bool(metric.buckets) and metric.help.endswith(".")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_the_rules_that_are_checked_in_are_those_of_the_catalogue() -> None:
    assert yaml.safe_load(RULES.read_text()) == alert_rules()
    for rule in alert_rules()["groups"][0]["rules"]:
        named = set(re.findall(r"[a-z_]{6,}", rule["expr"]))
        assert any(metric.name in rule["expr"] for metric in CATALOGUE if metric.alert), named


def test_prometheus_reads_the_rules_and_the_exposition(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it reads the alert rules as Prometheus does")
    checked = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    tally = Tally()
    for event in HEARD:
        tally.record(samples(event))
    linted = subprocess.run(
        [promtool, "check", "metrics"], input=exposition(tally), capture_output=True, text=True, check=False
    )
    # Some names of the catalogue break promtool's style on purpose; nothing may break its grammar.
    assert "error while linting" not in linted.stderr, linted.stderr


SAMPLES = st.builds(
    Sample,
    metric=st.just("seamless_total_ms"),
    labels=st.tuples(st.sampled_from(["live", "a\nb", 'q"\\'])),
    value=st.floats(0, 1e7),
)


@given(st.lists(SAMPLES, max_size=30))
def test_a_histogram_counts_each_value_once_and_its_buckets_only_grow(recorded: list[Sample]) -> None:
    tally = Tally()
    tally.record(recorded)
    text = exposition(tally)
    for domain in {sample.labels[0] for sample in recorded}:
        values = [sample.value for sample in recorded if sample.labels[0] == domain]
        escaped = domain.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        found = re.findall(
            rf'seamless_total_ms_bucket{{domain="{re.escape(escaped)}",le="([^"]+)"}} (\d+)', text
        )
        assert [int(count) for _, count in found] == [
            sum(value <= float(bound) for value in values) for bound, _ in found
        ]
        assert int(found[-1][1]) == len(values)


def test_a_series_that_does_not_fit_its_metric_hides_no_other() -> None:
    counter = next(metric for metric in CATALOGUE if metric.kind == "counter" and metric.labels)
    whole = Tally({(counter.name, ("a",) * len(counter.labels), ""): 3.0})
    misfits = {
        ("seamless_backfill_windows_total", ("binance",), ""): 1.0,
        (counter.name, ("a",) * (len(counter.labels) + 1), ""): 1.0,
        (counter.name, (), ""): 1.0,
        (counter.name, ("b",) * len(counter.labels), "+Inf"): 1.0,
        ("seamless_of_another_version_total", (), ""): 1.0,
    }
    assert exposition(Tally({**whole.added, **misfits})) == exposition(whole)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("processes", [50, pytest.param(10_000, marks=pytest.mark.deep)])
async def test_counts_of_many_processes_add_up_in_rows_that_do_not_grow_with_them(
    tmp_path: Path, processes: int
) -> None:
    file = tmp_path / "metrics.sqlite"
    for number in range(processes):
        tally, numbers = Tally(), MachineNumbers(file, lasting=LASTING)
        tally.record(samples(READ))
        await numbers.add(tally.added, tally.gauges)
        await numbers.close()
        if number == 0:
            at_first = await scrape_s(file)
    text = await scrape(file)
    assert f'seamless_total_ms_count{{domain="live"}} {processes}' in text
    assert f'partial_fill_returns{{world_id="w1",domain="live"}} {processes}' in text
    assert len(os.listdir(tmp_path)) <= 3
    assert processes < 10_000 or await scrape_s(file) < 2 * at_first
    assert 'coverage_ratio{node_id="ohlcv:binance:BTC/USDT:1m",world_id="w1"} 0.9' in text
    numbers = MachineNumbers(file, lasting=LASTING)
    assert len(await numbers.load()) == len({*tally.added, *tally.gauges})
    await numbers.close()


async def scrape_s(file: Path) -> float:
    """Seconds of a scrape, at best."""
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        await scrape(file)
        taken.append(time.perf_counter() - began)
    return min(taken)


async def test_what_reads_found_is_told_until_nobody_reads_any_more(tmp_path: Path) -> None:
    of_reads = {metric.name for metric in CATALOGUE if metric.labels == ("node_id", "world_id")}
    assert of_reads == LASTING.keys() == {"coverage_ratio", "live_staleness_seconds"}
    tally, file = Tally(), tmp_path / "metrics.sqlite"
    tally.record(samples(READ))
    for ago, is_told in ((60.0, True), (86_400.0, False)):
        numbers = MachineNumbers(file, lasting=LASTING, now=lambda ago=ago: time.time() - ago)
        await numbers.add(tally.added, tally.gauges)
        await numbers.close()
        text = await scrape(file)
        assert [f"{name}{{node_id=" in text for name in sorted(LASTING)] == [is_told] * 2
        assert "seamless_total_ms_count" in text


async def test_what_floods_a_metric_is_counted_together(tmp_path: Path) -> None:
    numbers = MachineNumbers(tmp_path / "metrics.sqlite")
    flood = {("domain_gate_holds", (f"w{n}", "live"), ""): 1.0 for n in range(MAX_SERIES + 500)}
    await numbers.add(flood, {})
    await numbers.add(flood, {})
    kept = await numbers.load()
    assert len(kept) == MAX_SERIES + 1
    assert kept["domain_gate_holds", ("other", "other"), ""] == 1_000
    assert kept["domain_gate_holds", ("w0", "live"), ""] == 2
    await numbers.close()


def test_a_reading_process_leaves_its_counts_behind(tmp_path: Path) -> None:
    (tmp_path / "seamless.yaml").write_text(
        "seamless: {artifact: {object_store_uri: ./a}, state_dir: ./state}\n"
        'exchanges: {binance: {symbols: ["BTC/USDT"], timeframes: ["1m"]}}\n'
    )
    code = (
        "import seamless_assets as sa\n"
        "with sa.connect('seamless.yaml') as s:\n"
        "    live = sa.ComputeContext(domain='live')\n"
        "    s.read('ohlcv:binance:BTC/USDT:1m', limit=3, context=live, strategy='FAIL_FAST')\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    file = tmp_path / "state" / "metrics.sqlite"
    app = metrics_app(lambda: scrape(file))
    _, text = asyncio.run(got(app, "/metrics"))
    assert 'seamless_total_ms_count{domain="live"} 2' in text
    assert 'domain_gate_holds{world_id="default",domain="live"} 1' in text


def test_a_file_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    (tmp_path / "metrics.sqlite").mkdir()
    status, text = asyncio.run(got(metrics_app(lambda: scrape(tmp_path / "metrics.sqlite")), "/metrics"))
    assert status == 503 and "metrics.sqlite" in text


@pytest.mark.parametrize("at", ["loop", "thread"])
async def test_events_of_any_thread_are_counted(tmp_path: Path, at: str) -> None:
    from seamless_assets.adapters.machine.log import LogEvents
    from seamless_assets.pipeline.wiring.metrics import CountingObserver

    file = tmp_path / "metrics.sqlite"
    observer = CountingObserver(LogEvents(), file)
    if at == "loop":
        observer.notify(READ)
    else:
        await asyncio.to_thread(observer.notify, READ)
    await observer.close()
    assert 'seamless_total_ms_count{domain="live"} 1' in await scrape(file)


async def shown(file: Path, line: str) -> None:
    """Return once a scrape shows a line."""
    while line not in await scrape(file):
        pass


async def test_what_another_thread_tells_of_is_handed_over_while_the_loop_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seamless_assets.adapters.machine.log import LogEvents
    from seamless_assets.pipeline.wiring import metrics as wiring

    monkeypatch.setattr(wiring, "HANDED_OVER_EVERY_S", 0.0)
    file, damage = tmp_path / "metrics.sqlite", events.DamagedState("hot.sqlite", "a block")
    observer = wiring.CountingObserver(LogEvents(), file)
    observer.notify(READ)
    async with asyncio.timeout(30):
        await shown(file, 'seamless_total_ms_count{domain="live"} 1')
        await asyncio.to_thread(observer.notify, damage)
        await shown(file, 'seamless_damaged_state_total{file="hot.sqlite"} 1')
    await observer.close()
    # Nobody is woken for what comes too late.
    await asyncio.to_thread(observer.notify, damage)


async def test_who_tells_of_something_on_a_loop_of_his_own_has_nothing_handed_over_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seamless_assets.adapters.machine.log import LogEvents
    from seamless_assets.pipeline.wiring import metrics as wiring

    monkeypatch.setattr(wiring, "HANDED_OVER_EVERY_S", 0.0)
    file = tmp_path / "metrics.sqlite"
    observer = wiring.CountingObserver(LogEvents(), file)
    observer.start()

    async def tells() -> set[asyncio.Task[None]]:
        observer.notify(READ)
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    assert await asyncio.to_thread(asyncio.run, tells()) == set()
    async with asyncio.timeout(30):
        await shown(file, 'seamless_total_ms_count{domain="live"} 1')
    await observer.close()


async def test_a_file_that_comes_back_gets_what_was_counted_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from seamless_assets.adapters.machine.log import LogEvents
    from seamless_assets.pipeline.wiring import metrics as wiring

    file = tmp_path / "metrics.sqlite"
    file.mkdir()
    observer = wiring.CountingObserver(LogEvents(), file)
    for _ in range(3):
        observer.notify(READ)
        await observer.hand_over()
    assert sum("metrics.sqlite" in record.message for record in caplog.records) == 1
    file.rmdir()
    await observer.close()
    assert 'seamless_total_ms_count{domain="live"} 3' in await scrape(file)
