"""Closing a pipeline in the middle of its work, and using it on both sides of a fork."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:ADA/BTC:1m"
WINDOW = (START, START + 10 * DAY)
YAML = """\
seamless:
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
exchanges:
  binance: {{base_url: "{url}", symbols: ["ADA/BTC"]}}
"""


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    """A local exchange whose market is young, so that its beginning is quickly found."""
    young = Market("ADA/BTC", 0.00001, 0.14, listed=START - 100 * DAY)
    with Sandbox(now=START + 11 * DAY, markets=[young]).running() as sandbox:
        yield sandbox


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    return settings_for({"binance": {"base_url": exchange.url, "symbols": ["ADA/BTC"]}})


@pytest.fixture
def project(exchange: Sandbox, tmp_path: Path) -> Path:
    """A folder with the settings of a pipeline on the local exchange."""
    (tmp_path / "seamless.yaml").write_text(YAML.format(url=exchange.url))
    return tmp_path


def held(settings: Settings) -> list[Lease]:
    async def ask() -> list[Lease]:
        leases = MachineLeases(settings.seamless.state_dir / "leases.sqlite")
        try:
            return await leases.held()
        finally:
            await leases.close()

    return asyncio.run(ask())


def await_leases(settings: Settings) -> None:
    deadline = time.monotonic() + 60
    while not held(settings):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_background_backfill_ends_with_its_pipeline(
    exchange: Sandbox, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.faults.add(Fault("hang", path="klines", times=None))
    with sa.connect(settings) as s:
        endless = s.backfill_in_background(NODE, *WINDOW)
        await_leases(settings)
    assert endless.cancelled() and held(settings) == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    exchange.faults.clear()
    # The same pipeline goes on where it is called again, and finds no lease that would have to run out.
    with s:
        assert s.ensure_coverage(NODE, *WINDOW).missing == 0


async def test_an_awaited_backfill_ends_with_its_pipeline(exchange: Sandbox, settings: Settings) -> None:
    exchange.faults.add(Fault("hang", path="klines", times=None))
    s = sa.connect(settings)
    endless = asyncio.ensure_future(s.aio.backfill(NODE, *WINDOW))
    await asyncio.to_thread(await_leases, settings)
    await asyncio.gather(s.aio.close(), s.aio.close())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(endless, 60)
    assert await asyncio.to_thread(held, settings) == []


def test_partitions_that_nobody_asks_for_any_more_are_given_up(exchange: Sandbox, settings: Settings) -> None:
    with sa.connect(settings) as s:
        reports = s.materialize_each(NODE, *WINDOW)
        assert next(reports).released
        exchange.faults.add(Fault("hang", path="klines", times=None))
    assert held(settings) == []
    with pytest.raises(CancelledError):
        next(reports)
    s.close()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_gives_its_leases_back(
    exchange: Sandbox, project: Path, sent: signal.Signals, status: int
) -> None:
    exchange.faults.add(Fault("hang", path="klines", times=None))
    tool = Path(sys.executable).with_name("seamless")
    command = subprocess.Popen(
        [tool, "backfill", NODE, "2025-01-01", "2025-01-11"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    settings = load_settings(project / "seamless.yaml")
    try:
        await_leases(settings)
        command.send_signal(sent)
        output, _ = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == status and held(settings) == []
    assert "stopped; 0 of 14400 bars are done and stored, the same command does the rest\n" in output
    assert "Traceback" not in output and "{" not in output


def test_a_lost_service_is_reported_in_words(exchange: Sandbox, project: Path) -> None:
    config = project / "seamless.yaml"
    config.write_text(config.read_text() + "environment: {coordinator_url: http://127.0.0.1:9}\n")
    tool = Path(sys.executable).with_name("seamless")
    result = subprocess.run(
        [tool, "backfill", NODE, "2025-01-01", "2025-01-02"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("waiting for ")]
    assert lines[0].startswith("leases lost: ") and "{" not in result.stderr


FORKING = """
import asyncio, os, sys
import seamless_assets as sa
from seamless_assets.adapters.artifacts.storage.bucket import BucketFiles

NODE, START, END = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def in_a_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

def refused(work):
    try:
        work()
    except sa.errors.ForkedProcess:
        print("refused")

def inherited():
    refused(lambda: s.coverage(NODE, START, END))
    refused(lambda: s.read(NODE, START, END))
    refused(lambda: s.aio.ports)
    s.close()

def use_bucket():
    asyncio.run(BucketFiles("memory:///").create("file", b""))

with sa.connect() as s:
    in_a_child(lambda: print("unused", s.coverage(NODE, START, END).missing))
    s.ensure_coverage(NODE, START, END)
    s.publish(NODE, START, END)
    in_a_child(inherited)
    use_bucket()
    in_a_child(lambda: refused(use_bucket))
    print("parent", s.ensure_coverage(NODE, START, END + 2 * 86400).missing)
"""


def test_a_forked_child_learns_what_is_not_its_own(project: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FORKING, NODE, str(START), str(START + DAY)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:-1] == [
        *("unused 1440", "refused", "refused", "refused", "refused", "parent 0"),
    ]
    assert result.stderr == ""
