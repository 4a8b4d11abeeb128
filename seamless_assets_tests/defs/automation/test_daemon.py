"""The real daemon: an exchange that was down is made up for, untouched, within ten minutes of its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

import seamless_assets as sa
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

NODE = "ohlcv:binance:BTC/USDT:1m"
TEN_MINUTES, DAY = 600, 86_400
LOOK_S = 0.5


def wait_for(found: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path, what: str) -> None:
    """Wait for something that the daemon does; fail with its log where it takes longer than it may."""
    deadline = time.monotonic() + TEN_MINUTES
    while not found():
        assert daemon.poll() is None and time.monotonic() < deadline, f"{what}: {log.read_text()[-4000:]}"
        time.sleep(LOOK_S)


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox().running() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, venue: Sandbox) -> Path:
    """A project whose automation is on, of a node that starts at midnight, and its `DAGSTER_HOME`."""
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
            "backfill": {"max_attempts": 1, "retry_backoff_ms": 1},
        },
        "exchanges": {
            "binance": {
                "base_url": venue.url,
                "symbols": ["BTC/USDT"],
                "start": time.strftime("%Y-%m-%d", time.gmtime(venue.clock.now() - DAY)),
            }
        },
        "automation": {"enabled": True, "freshness": {"interval_s": 30, "retry_s": 60, "max_lag_s": 60}},
    }
    (tmp_path / "seamless.yaml").write_text(yaml.safe_dump(declared))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


@pytest.fixture
def instance(folder: Path) -> Iterator[DagsterInstance]:
    """Its instance, whose tables are there before two processes could make them."""
    with DagsterInstance.from_config(str(folder / "home")) as made:
        made.get_runs(limit=1)
        yield made


@pytest.fixture
def daemon(folder: Path, venue: Sandbox, instance: DagsterInstance) -> Iterator[subprocess.Popen[bytes]]:
    """`dagster-daemon`, with all it starts."""
    venue.faults.add(Fault("status", code=503, times=None))
    with (folder / "daemon.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", "seamless_assets.definitions"],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                "PATH": os.defpath,
                "HOME": str(folder),
                "DAGSTER_HOME": str(folder / "home"),
                "SEAMLESS_CONFIG": str(folder / "seamless.yaml"),
            },
        )
    yield running
    # Its leader is there until it is waited for.
    os.killpg(running.pid, signal.SIGTERM)
    running.wait(timeout=60)


@pytest.mark.deep
@pytest.mark.timeout(1500)
def test_an_outage_is_recovered_from_untouched(
    folder: Path, venue: Sandbox, instance: DagsterInstance, daemon: subprocess.Popen[bytes]
) -> None:
    log = folder / "daemon.log"

    def runs(*statuses: DagsterRunStatus) -> int:
        return instance.get_runs_count(RunsFilter(statuses=list(statuses)))

    wait_for(lambda: runs(DagsterRunStatus.FAILURE) > 0, daemon, log, "no run failed while it was down")
    assert runs(DagsterRunStatus.SUCCESS) == 0
    venue.faults.clear()
    wait_for(lambda: runs(DagsterRunStatus.SUCCESS) > 0, daemon, log, "no run succeeded since it is up")
    keys = {(run.job_name, run.tags.get("dagster/run_key")) for run in instance.get_runs()}
    assert len(keys) == len(instance.get_runs())
    with sa.connect(folder / "seamless.yaml") as s:
        now = int(venue.clock.now())
        coverage = s.coverage(NODE, now - DAY // 2, now)
        window = s.released_window(NODE)
    assert coverage.ratio >= 0.98 and now - window.end < TEN_MINUTES
