"""Ticks of schedules and sensors on a virtual clock, and the runs that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    Definitions,
    RunRequest,
    build_schedule_context,
    build_sensor_context,
)

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

PARTITION, FIRST, LAST = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)


@dataclass
class Project:
    """Definitions on the local exchange, whose clock and ours are one."""

    definitions: Definitions
    instance: DagsterInstance
    exchange: Sandbox
    settings: Settings
    now: float = START + 10 * DAY
    seen: set[str | None] = field(default_factory=set)

    def at(self, day: float) -> None:
        """Let it be so many days after the start."""
        self.now = START + day * DAY
        self.exchange.clock.set(self.now)

    def tick_schedule(self, name: str) -> list[RunRequest]:
        """What a schedule asks for now."""
        repository = self.definitions.get_repository_def()
        resources = dict(self.definitions.resources or {})
        with build_schedule_context(self.instance, repository_def=repository, resources=resources) as context:
            tick = repository.get_schedule_def(name).evaluate_tick(context)
        return list(tick.run_requests or [])

    def tick_sensor(self, name: str, cursor: str | None = None) -> tuple[list[RunRequest], str | None]:
        """What a sensor asks for now, as the daemon would launch it, and its new cursor."""
        repository = self.definitions.get_repository_def()
        resources = dict(self.definitions.resources or {})
        with build_sensor_context(
            self.instance, repository_def=repository, cursor=cursor, resources=resources
        ) as context:
            tick = repository.get_sensor_def(name).evaluate_tick(context)
        return list(tick.run_requests or []), tick.cursor

    def launch(self, requests: Iterable[RunRequest]) -> int:
        """Do what runs would do that are asked for; the number of runs.

        A run key that was seen before is left out, as the daemon does. No step is run, which takes long.
        """
        fresh = [request for request in requests if request.run_key not in self.seen]
        fresh = list({request.run_key: request for request in fresh}.values())
        self.seen |= {request.run_key for request in fresh}
        graph = self.definitions.resolve_asset_graph()
        with sa.connect(self.settings) as pipeline:
            for request, (first, last, _) in zip(fresh, spans(fresh), strict=True):
                for key in request.asset_selection or []:
                    spec = graph.get(key)
                    begin, end = map(spec.partitions_def.time_window_for_partition_key, (first, last))
                    pipeline.materialize(spec.metadata["seamless/node_id"], begin.start, end.end)
        return len(fresh)

    def released(self, symbol: str = "BTC/USDT", timeframe: str = "1m") -> set[str]:
        """The partitions of a node that are in force."""
        with sa.connect(self.settings) as pipeline:
            snapshot = pipeline.snapshot(f"ohlcv:binance:{symbol}:{timeframe}")
        return {ref.partition for ref in snapshot.artifacts}


def spans(requests: Iterable[RunRequest]) -> list[tuple[str, str, int]]:
    """First and last partition of each request, and its number of nodes."""
    return [
        (
            request.tags.get(PARTITION) or request.tags[FIRST],
            request.tags.get(PARTITION) or request.tags[LAST],
            len(request.asset_selection or []),
        )
        for request in requests
    ]


@pytest.fixture(scope="module")
def kept_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    """An instance in a folder: ticks reach one by its reference, which one in memory has not."""
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as made:
        yield made


@pytest.fixture
def instance(kept_instance: DagsterInstance) -> DagsterInstance:
    """The same, empty."""
    kept_instance.run_storage.wipe()
    kept_instance.event_log_storage.wipe()
    return kept_instance


@pytest.fixture
def project(
    written: Callable[..., Path],
    instance: DagsterInstance,
    exchange: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Project]:
    """Makes the definitions of nodes, ten days after the start."""

    def make(*symbols: str, **more: Any) -> Project:
        settings = load_settings(written(*symbols, **more))
        made = Project(build_definitions(settings), instance, exchange, settings)
        monkeypatch.setattr(SystemClock, "now", lambda _: made.now)
        return made

    return make
