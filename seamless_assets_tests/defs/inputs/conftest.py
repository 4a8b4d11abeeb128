"""A project whose nodes have partitions of each length, at a time that stands still."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.test_utils import freeze_time
from support.dagster_project import NODES, NOW, RELEASED, Project

import seamless_assets as sa
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.sandbox.server import Sandbox

SEAMLESS = {
    "artifact": {"object_store_uri": "./artifacts"},
    "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
    "state_dir": "./state",
    "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
}


def declare(folder: Path, exchange: Sandbox) -> Path:
    """The settings of a folder, pointing at an exchange."""
    declared = {
        "base_url": exchange.url,
        "symbols": ["BTC/USDT"],
        "timeframes": list(NODES),
        "start": "2022-01-01",
    }
    file = folder / "seamless.yaml"
    file.write_text(yaml.safe_dump({"seamless": SEAMLESS, "exchanges": {"binance": declared}}))
    return file


@contextmanager
def standing_still() -> Iterator[None]:
    """The time of Dagster and of the pipeline stands at NOW."""
    with freeze_time(NOW), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "now", lambda _: NOW.timestamp())
        yield


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which is released what RELEASED says, for each project to have a copy of."""
    folder = tmp_path_factory.mktemp("released")
    with (
        standing_still(),
        Sandbox(now=NOW.timestamp()).running() as exchange,
        sa.connect(declare(folder, exchange)) as pipeline,
    ):
        for timeframe, windows in RELEASED.items():
            for window in windows:
                assert pipeline.materialize(NODES[timeframe], *window).released
    return folder


@pytest.fixture(scope="module")
def still(released: Path) -> Iterator[None]:
    """The time of Dagster and of the pipeline stands at NOW."""
    with standing_still():
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, released: Path, still: None) -> Iterator[Project]:
    """Nodes of days, months and years, released as RELEASED says."""
    folder = tmp_path_factory.mktemp("project") / "own"
    shutil.copytree(released, folder)
    with Sandbox(now=NOW.timestamp()).running() as exchange, DagsterInstance.ephemeral() as instance:
        yield Project(declare(folder, exchange), instance)
