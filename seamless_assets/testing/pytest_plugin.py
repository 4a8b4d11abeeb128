"""Fixtures for pytest: `pytest_plugins = ["seamless_assets.testing.pytest_plugin"]` in a `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing.bars import DAY, START


@pytest.fixture
def local_exchange() -> Iterator[Sandbox]:
    """A running local exchange whose clock stands at 2025-01-11; its `url` is a `base_url`."""
    with Sandbox(now=START + 10 * DAY).running() as exchange:
        yield exchange


@pytest.fixture
def local_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings on embedded stores below `tmp_path`, without limits worth waiting for.

    Call it with the `exchanges` of a `seamless.yaml`; keywords are what stands below `seamless:` there.
    """

    def build(exchanges: Mapping[str, Any], **seamless: Any) -> Settings:
        return settings_from_mapping(
            {
                "seamless": {
                    "artifact": {"object_store_uri": "./artifacts"},
                    "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                    "state_dir": "./state",
                    "backfill": {"retry_backoff_ms": 1},
                    "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
                    **seamless,
                },
                "exchanges": exchanges,
            },
            base=tmp_path,
            environ={},
        )

    return build
