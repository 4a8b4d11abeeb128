"""Two checks of what is released as it is: how much of what is settled it lacks, and whether it drifts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetCheckKey, AssetCheckResult, AssetCheckSeverity, AssetKey, DagsterInstance

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import FRESH, STABLE, NodesByKey
from seamless_assets.defs.nodes.checks import judge_fresh, judge_stable, run_checks
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE, KEY = sa.NodeId.parse("ohlcv:binance:BTC/USDT:1m"), AssetKey(["ohlcv", "binance", "BTC_USDT_1m"])


class World:
    """One node on the local exchange, whose clock and ours are one."""

    def __init__(self, file: Path, exchange: Sandbox, pipeline: Seamless) -> None:
        self.file, self.exchange, self.pipeline, self.now = file, exchange, pipeline, 0.0

    def at(self, minutes: float, *, released: bool = False) -> None:
        """So many minutes of the third day are gone; what is settled of it is released then, or not."""
        self.now = START + 2 * DAY + 60 * minutes
        self.exchange.clock.set(self.now)
        if released:
            assert self.pipeline.materialize(NODE, "2025-01-01", "2025-01-04").released

    def fresh(self) -> AssetCheckResult:
        return judge_fresh(self.pipeline, KEY, NODE)

    def stable(self) -> AssetCheckResult:
        # Of the days that are over: the third one holds fewer bars than a sample.
        self.pipeline.aio.ports.rng.seed(3)
        return judge_stable(self.pipeline, KEY, NODE)


@pytest.fixture
def world(
    written: Callable[..., Path], exchange: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    file = written("BTC/USDT", backfill={"max_attempts": 1})
    with sa.connect(file) as pipeline:
        made = World(file, exchange, pipeline)
        monkeypatch.setattr(SystemClock, "now", lambda _: made.now)
        yield made


def test_fresh_tells_how_much_of_what_is_settled_is_not_released(world: World) -> None:
    world.at(30)
    result = world.fresh()
    assert not result.passed and result.severity == AssetCheckSeverity.WARN
    assert "nothing is released: materialize 2025-01-01 to 2025-01-03" in str(result.description)
    world.at(30, released=True)
    assert world.fresh().passed and world.fresh().metadata["lag_seconds"].value == 0
    world.at(45)
    assert world.fresh().passed and world.fresh().metadata["lag_seconds"].value == 900
    world.at(46)
    late = world.fresh()
    assert not late.passed and "released until 2025-01-03T00:28:00Z" in str(late.description)
    # An old partition that is materialized makes nothing fresh.
    assert world.pipeline.materialize(NODE, "2025-01-01", "2025-01-02").released
    assert not world.fresh().passed


def test_stable_compares_a_sample_with_what_is_sent_today(world: World) -> None:
    world.at(30, released=True)
    result = world.stable()
    assert result.passed and result.metadata["compared_bars"].value == 100
    made = world.exchange.book.generator.minutes

    def corrected(*arguments: Any) -> Any:
        bars = made(*arguments)
        bars["volume"] += 1.0
        return bars

    world.exchange.book.generator.minutes = corrected  # type: ignore[method-assign]
    drifted = world.stable()
    assert not drifted.passed and drifted.severity == AssetCheckSeverity.WARN
    assert drifted.metadata["changed_bars"].value == 100 and "anew" in str(drifted.description)
    world.exchange.faults.add(Fault("status", code=503, times=None))
    checks = [AssetCheckKey(KEY, name) for name in (STABLE, FRESH)]
    judged = run_checks(world.pipeline, NodesByKey(world.pipeline.settings.nodes).node, checks)
    assert next(judged).check_name == FRESH
    with pytest.raises(ExchangeUnavailable):
        next(judged)


def test_the_inspection_leaves_a_result_of_each_node(world: World) -> None:
    world.at(30, released=True)
    held, derived = yaml.safe_load(world.file.read_text()), AssetKey(["ohlcv", "made", "BTC_USDT_15m"])
    held["derived"] = [{"node": "ohlcv:made:BTC/USDT:15m", "resample": str(NODE)}]
    world.file.write_text(yaml.safe_dump(held))
    with DagsterInstance.ephemeral() as instance:
        job = build_definitions(load_settings(world.file)).resolve_job_def("inspection")
        assert job.execute_in_process(instance=instance).success
        for name in (FRESH, STABLE):
            record = instance.get_latest_asset_check_evaluation_record(AssetCheckKey(KEY, name))
            assert record is not None and record.evaluation is not None and record.evaluation.passed
        record = instance.get_latest_asset_check_evaluation_record(AssetCheckKey(derived, FRESH))
        assert record is not None and record.evaluation is not None and not record.evaluation.passed
        assert "switch derivation on" in str(record.evaluation.description)
        assert instance.get_latest_asset_check_evaluation_record(AssetCheckKey(derived, STABLE)) is None
        world.exchange.faults.add(Fault("status", code=503, times=None))
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not failed.success
