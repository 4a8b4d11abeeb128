"""What tests share: recorded market data, real services, an open pipeline on the local exchange."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twins import START

from seamless_assets.config import Settings, settings_from_mapping
from seamless_assets.sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parent.parent


def require_program(name: str, why: str) -> str:
    """Path of a program that tests need; without it they skip, on CI they fail."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed: {why}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded bars and trades beside the checkout."""
    folder = ROOT.parent / "shared" / "market-data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: recorded market data lies beside the project, not in it")
    return folder


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    """A running local exchange whose clock stands at 2025-01-11."""
    with Sandbox(now=START + 10 * 86_400).running() as sandbox:
        yield sandbox


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Settings on embedded stores below `tmp_path`; exchanges as keyword arguments."""

    def build(exchanges: dict[str, Any], **seamless: Any) -> Settings:
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
