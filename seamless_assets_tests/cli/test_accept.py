"""`seamless accept`: it passes on a sound pipeline, names what is wrong, and says what it could not try."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.cli.acceptance import benchmarks
from seamless_assets.cli.acceptance.outcome import Outcome, is_accepted, name_of
from seamless_assets.cli.app import run
from seamless_assets.config.load import Settings
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.flows.reading import answer, sessions
from seamless_assets.metrics import recording
from seamless_assets.pipeline.wiring import metrics
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:5m")
HOURLY = NodeId.parse("ohlcv:binance:BTC/USDT:1h")


@pytest.fixture
def settings(local_exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {
        "base_url": local_exchange.url,
        "symbols": ["BTC/USDT"],
        "timeframes": ["5m", "1h"],
        "start": START,
    }
    made = settings_for({"binance": declared}, partitions={"1h": "day"})
    with sa.connect(made) as s:
        for day in range(2):
            s.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)
    return made


def tried(settings: Settings) -> dict[str, Outcome]:
    return {benchmark.__name__: benchmark(settings, NODE) for benchmark in benchmarks.BENCHMARKS}


def test_a_sound_pipeline_passes_all_and_passes_again(settings: Settings) -> None:
    for _ in range(2):
        found = tried(settings)
        assert [one.benchmark for one in found.values()] == list(map(name_of, benchmarks.BENCHMARKS))
        assert {outcome.state for outcome in found.values()} == {"passed"}, found
    assert "the way back refused" in found["as_of_never_regresses"].measured
    assert benchmarks.coverage_is_kept(settings, HOURLY).state == "not tried"


def test_each_benchmark_fails_where_what_it_holds_does_not_hold(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> set[str]:
        return {name for name, outcome in tried(settings).items() if outcome.state == "failed"}

    with monkeypatch.context() as planted:
        planted.setattr(sessions, "require_advance", lambda *args: None)
        assert failing() == {"as_of_never_regresses"}
    with monkeypatch.context() as planted:
        planted.setattr(benchmarks, "LEAST_COVERAGE", 1.01)
        assert failing() == {"coverage_is_kept"}
    with monkeypatch.context() as planted:
        real = recording.samples
        planted.setattr(
            metrics, "samples", lambda event: [s for s in real(event) if "violations" not in s.metric]
        )
        assert failing() == {"violations_are_counted"}
    with monkeypatch.context() as planted:
        calls: list[int] = []
        served = answer.ReadResult

        def other(bars: Any, metadata: Any) -> ReadResult:
            calls.append(1)
            return served(bars.slice(0, max(0, bars.num_rows - len(calls) % 2)), metadata)

        planted.setattr(answer, "ReadResult", other)
        assert failing() == {"reruns_are_identical", "fingerprints_select"}


def test_nothing_that_was_tried_is_no_pass() -> None:
    skipped = Outcome("a", "n", "not tried", "")
    assert not is_accepted([]) and not is_accepted([skipped])
    assert is_accepted([skipped, replace(skipped, state="passed")])
    assert not is_accepted([replace(skipped, state="passed"), replace(skipped, state="failed")])


def accept(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["seamless", "accept", *arguments])
    try:
        return run()
    except SystemExit as ended:
        return int(ended.code or 0)


def test_the_command_on_a_local_exchange_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert accept(monkeypatch, "--local", "--json", "--node", "ohlcv:okx:ETH/USDT:5m") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["passed"] and len(outcome["benchmarks"]) == 8
    assert {found["state"] for found in outcome["benchmarks"]} == {"passed"}
    assert list(tmp_path.iterdir()) == []


def test_series_without_releases_fail_and_wrong_arguments_are_refused(
    exchange: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "seamless.yaml"
    file.write_text(
        "seamless: {artifact: {object_store_uri: ./a}, hot_store: {dsn: 'sqlite:///./h.sqlite'}}\n"
        f"exchanges: {{binance: {{base_url: '{exchange.url}', symbols: [BTC/USDT], timeframes: [5m]}}}}\n"
    )
    assert accept(monkeypatch, "--config", str(file)) == 1
    assert "NothingReleased" in capsys.readouterr().out
    assert accept(monkeypatch, "--config", str(file), "--json") == 1
    failed = json.loads(capsys.readouterr().out)["benchmarks"]
    # A benchmark has one name, whatever comes of it.
    assert [one["benchmark"] for one in failed] == list(map(name_of, benchmarks.BENCHMARKS))
    assert accept(monkeypatch, "--config", str(file), "--node", "ohlcv:binance:BTC/USDT:1m") == 1
    assert "is not one of" in capsys.readouterr().err
    assert accept(monkeypatch, "--config", str(file), "--local") == 2
