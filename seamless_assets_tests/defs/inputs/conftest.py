"""A project whose nodes have partitions of each length, at a time that stands still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.test_utils import freeze_time
from support.dagster_project import NODES, NOW, RELEASED, Project

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def still() -> Iterator[None]:
    """The time of Dagster and of the pipeline stands at NOW."""
    with freeze_time(NOW), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "now", lambda _: NOW.timestamp())
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, still: None) -> Iterator[Project]:
    """Nodes of days, months and years, released as RELEASED says."""
    folder = tmp_path_factory.mktemp("project")
    file = folder / "seamless.yaml"
    with Sandbox(now=NOW.timestamp()).running() as exchange, DagsterInstance.ephemeral() as instance:
        declared = {
            "binance": {
                "base_url": exchange.url,
                "symbols": ["BTC/USDT"],
                "timeframes": list(NODES),
                "start": "2022-01-01",
            }
        }
        seamless = {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
        }
        file.write_text(yaml.safe_dump({"seamless": seamless, "exchanges": declared}))
        with sa.connect(file) as pipeline:
            for timeframe, windows in RELEASED.items():
                for window in windows:
                    assert pipeline.materialize(NODES[timeframe], *window).released
        yield Project(file, instance)
