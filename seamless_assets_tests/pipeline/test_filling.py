"""Filling by hand: the two commands, filling in the background, and the ledger as a person reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.services import free_port

import seamless_assets as sa
from seamless_assets.cli.app import cli
from seamless_assets.config.load import Settings
from seamless_assets.errors import InvalidChoice
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:ADA/BTC:1m"
WINDOW = ("2025-01-02", "2025-01-03")
YAML = """\
seamless:
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
  backfill: {{retry_backoff_ms: 1, max_attempts: 2}}
exchanges:
  binance: {{base_url: "{url}", symbols: ["ADA/BTC"]}}
"""


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    """A local exchange whose market is young, so that its beginning is quickly found."""
    young = Market("ADA/BTC", 0.00001, 0.14, listed=START - 100 * DAY)
    with Sandbox(now=START + 10 * DAY, markets=[young]).running() as sandbox:
        yield sandbox


def run(folder: Path, url: str, *words: str) -> tuple[int, str]:
    config = folder / "seamless.yaml"
    config.write_text(YAML.format(url=url))
    result = CliRunner().invoke(cli, [words[0], "--config", str(config), *words[1:]])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_backfill_is_watched_and_a_coverage_is_read(exchange: Sandbox, tmp_path: Path) -> None:
    level = logging.getLogger("seamless_assets").level
    status, output = run(tmp_path, exchange.url, "backfill", NODE, *WINDOW)
    bars = len(exchange.book.candles("ADA/BTC", sa.Timeframe("1m"), START + DAY, START + 2 * DAY))
    assert status == 0 and f"{bars} bars added, 0 revised" in output and "1440/1440" in output
    assert f"{bars} of 1440 bars present, {1440 - bars} proven absent, 0 missing; coverage 1.0000" in output
    assert logging.getLogger("seamless_assets").level == level
    assert logging.getLogger("seamless_assets").handlers == []
    status, output = run(tmp_path, exchange.url, "coverage", NODE, "2025-01-01", "2025-01-03")
    assert status == 0 and "1440 missing" in output and "never" in output and "no_trades" in output
    short = output.count("no_trades")
    assert (
        run(tmp_path, exchange.url, "coverage", NODE, "2025-01-01", "2025-01-03", "--all")[1].count(
            "no_trades"
        )
        > short
    )


def test_a_backfill_that_stays_incomplete_says_why_and_fails(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.faults.add(Fault("status", path="klines", code=503, times=None))
    status, output = run(tmp_path, exchange.url, "backfill", NODE, *WINDOW)
    assert status == 1 and "1440 missing" in output and "503" in output.replace("\n", "")
    status, output = run(tmp_path, exchange.url, "coverage", NODE, *WINDOW)
    assert "2025" in output and "missing" in output


@pytest.mark.parametrize("window", [("1900-01-01", "2098-01-01"), ("1900-01-01", "1950-01-01")])
def test_a_backfill_of_a_century_says_what_it_waits_for_and_ends(
    tmp_path: Path, window: tuple[str, str]
) -> None:
    status, output = run(tmp_path, f"http://127.0.0.1:{free_port()}", "backfill", NODE, *window)
    is_before_markets = window[1] < "2009"
    notice = "waiting for binance, asked again in 0.0 s, try 2 of 2: binance markets: nothing listens at"
    assert (notice in output) is not is_before_markets
    assert status == (0 if is_before_markets else 1)
    assert "pre_listing" in output and "older than any market" in output


@pytest.fixture
def pipeline(exchange: Sandbox, settings_for: Callable[..., Settings]) -> object:
    declared = {"binance": {"base_url": exchange.url, "symbols": ["ADA/BTC"]}}
    with sa.connect(settings_for(declared)) as opened:
        yield opened


def test_coverage_is_ensured_before_the_call_returns(pipeline: sa.Seamless) -> None:
    known = pipeline.ensure_coverage(NODE, *WINDOW)
    assert (known.expected, known.missing) == (1440, 0) and known == pipeline.coverage(NODE, *WINDOW)


def test_a_backfill_in_the_background_ends_or_is_ended(pipeline: sa.Seamless, exchange: Sandbox) -> None:
    assert pipeline.backfill_in_background(NODE, *WINDOW).result(60).coverage.missing == 0
    exchange.faults.add(Fault("hang", path="klines", times=None))
    endless = pipeline.backfill_in_background(NODE, "2025-01-04", "2025-01-05")
    assert endless.cancel()
    with pytest.raises(CancelledError):
        endless.result(60)
    exchange.faults.clear()
    # What was cancelled left no lease behind that would have to run out first.
    assert pipeline.ensure_coverage(NODE, "2025-01-04", "2025-01-05").missing == 0


def test_the_ledger_tells_looks_and_the_next_one(pipeline: sa.Seamless, exchange: Sandbox) -> None:
    for part in ("klines", "aggTrades"):
        exchange.faults.add(Fault("empty", path=part, times=None))
    pipeline.backfill(NODE, START, START + 3_600)
    pipeline.aio.portal.run(_look_again(pipeline))
    looks = [fact for fact in pipeline.ledger(NODE, START, START + 3_600) if fact.reason == "missing"]
    assert [fact.attempts for fact in looks] == [1, 2]
    delays = [(fact.next_try or 0.0) - fact.recorded_at for fact in looks]
    assert delays == sorted(delays) and delays[0] < delays[1]


async def _look_again(pipeline: sa.Seamless) -> None:
    """As if the time of the next look had come."""
    from dataclasses import replace

    from seamless_assets.adapters.machine.clock import SystemClock
    from seamless_assets.core.calendar.segment import Segment
    from seamless_assets.flows.filling.backfill import backfill

    class Later(SystemClock):
        def now(self) -> float:
            return super().now() + 120

    ports = replace(pipeline.aio.ports, clock=Later())
    await backfill(ports, sa.NodeId.parse(NODE), Segment(START, START + 3_600))


def test_a_misspelt_exchange_is_told_with_the_nearest_node(settings_for: Callable[..., Settings]) -> None:
    declared = {"binance": {"symbols": ["ADA/BTC"], "timeframes": ["1m"], "start": START}}
    misspelt = NODE.replace("binance", "binanse")
    with sa.connect(settings_for(declared)) as s, pytest.raises(InvalidChoice, match=f"did you mean {NODE}"):
        s.backfill(misspelt, *WINDOW)
