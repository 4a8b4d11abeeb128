"""What tests of the Dagster shell share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance

from seamless_assets.sandbox.server import Sandbox


@pytest.fixture
def written(tmp_path: Path, exchange: Sandbox) -> Callable[..., Path]:
    """A seamless.yaml on embedded stores, pointing at the local exchange."""

    def write(*symbols: str, timeframes: tuple[str, ...] = ("1m",), **more: Any) -> Path:
        path = tmp_path / "seamless.yaml"
        declared = {
            "base_url": exchange.url,
            "symbols": list(symbols),
            "timeframes": list(timeframes),
            "start": "2025-01-01",
        }
        seamless = {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
            **more,
        }
        path.write_text(yaml.safe_dump({"seamless": seamless, "exchanges": {"binance": declared}}))
        return path

    return write


@pytest.fixture
def instance() -> Any:
    with DagsterInstance.ephemeral() as made:
        yield made
