"""No secret of the settings is written, printed, raised or logged, whatever goes wrong."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.echo import PAGE, echo
from support.services import free_port

import seamless_assets as sa
from seamless_assets.adapters.artifacts.storage import bucket
from seamless_assets.cli.app import main

JSON = "application/json"
NODE = "ohlcv:binance:BTC/USDT:1m"
OTHER = "ohlcv:kraken:BTC/USD:1m"
WINDOW = ("2025-01-01", "2025-01-02")
SECRETS = {
    name: f"hunter2-{name}"
    for name in (
        *("base", "proxy", "key", "secret", "password", "uid", "option"),
        *("redis", "leases", "questdb", "postgres", "s3secret", "s3token", "tokenuser"),
    )
}
QUOTED = "hunter2%2D"
"""How another writes the first letters of each."""


SERVERS = """
  artifact:
    object_store_uri: s3://bucket/prefix
    s3:
      endpoint_url: http://127.0.0.1:{port}
      region: us-east-1
      access_key_id: someone
      secret_access_key: {s3secret}
      session_token: {s3token}
  hot_store:
    dsn: questdb://me:{questdb}@127.0.0.1:{port}
    pg_port: {port}
    pg_password: {postgres}
    timeout_ms: 300
    retry_ms: 0
"""
FILES = """
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
"""
REST = """
  state_dir: ./state
  rate_limit: {{redis_dsn: "redis://me:{redis}@127.0.0.1:{port}/0"}}
  backfill: {{max_attempts: 1, retry_backoff_ms: 1}}
exchanges:
  binance:
    base_url: http://me:{base}@127.0.0.1:{port}
    symbols: ["BTC/USDT"]
    api_key: {key}
    secret: {secret}
    password: {password}
    uid: {uid}
    timeout_ms: 1000
    options: {{token: {option}}}
  kraken:
    base_url: http://{tokenuser}@127.0.0.1:{port}/kraken
    proxy: http://me:{proxy}@127.0.0.1:{port}
    symbols: ["BTC/USD"]
    timeout_ms: 1000
environment:
  coordinator_url: http://me:{leases}@127.0.0.1:{port}/leases
"""
STORES = {"servers": SERVERS, "files": FILES}


@contextlib.contextmanager
def silence() -> Iterator[int]:
    """A port that nobody listens on."""
    yield free_port()


@contextlib.contextmanager
def answering(status: int, kind: str) -> Iterator[int]:
    with echo(status, kind) as server:
        yield server.port


WAYS: dict[str, Callable[[], Any]] = {
    "unreachable": silence,
    "unauthorized": lambda: answering(401, JSON),
    "forbidden page": lambda: answering(403, PAGE),
    "page": lambda: answering(200, PAGE),
    "odd JSON": lambda: answering(200, JSON),
    "failing": lambda: answering(500, JSON),
    "limited": lambda: answering(429, PAGE),
}


def calls(s: sa.Seamless) -> list[Callable[[], Any]]:
    """What is asked of a pipeline."""
    return [
        s.diagnose,
        lambda: s.materialize(NODE, *WINDOW),
        lambda: s.backfill(OTHER, *WINDOW),
        lambda: s.releases(NODE),
    ]


def leaks(text: str) -> list[str]:
    """The secrets that a text tells, in any way that they are written."""
    users = {f"me:{secret}" for secret in SECRETS.values()} | {f"{SECRETS['tokenuser']}:"}
    words = {*SECRETS.values(), QUOTED, *(b64encode(user.encode()).decode() for user in users)}
    signed = re.findall(r"signature=(?!\*\*\*)\w+", text)
    return sorted(word for word in words if word in text) + signed


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("ccxt", "ccxt.base.exchange", "asyncio", "aiohttp", "redis", "botocore", "seamless_assets"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


@pytest.mark.parametrize("stores", STORES)
@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    everything_logged: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    way: str,
    stores: str,
) -> None:
    monkeypatch.setitem(bucket.RETRIES, "max_retries", 0)
    monkeypatch.setattr(bucket, "LAST_PAUSE_S", 0.0)
    file = tmp_path / "seamless.yaml"
    shown: list[str] = []
    with WAYS[way]() as port:
        file.write_text(("seamless:" + STORES[stores] + REST).format(port=port, **SECRETS))
        with sa.connect(file) as pipeline:
            shown.append(repr(pipeline.settings))
            for call in calls(pipeline):
                try:
                    shown.append(repr(call()))
                except sa.SeamlessError as error:
                    shown += [repr(error), repr(error.facts), *traceback.format_exception(error)]
        for command in (["doctor"], ["backfill", NODE, *WINDOW]) if stores == "files" else ():
            monkeypatch.setattr(sys, "argv", ["seamless", *command, "--config", str(file)])
            with contextlib.suppress(SystemExit):
                main()
    printed = "".join(capfd.readouterr())
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert files and shown
    everything = {
        "raised or returned": "\n".join(shown),
        "printed": printed,
        "logged": everything_logged.text,
        **{str(path.relative_to(tmp_path)): path.read_bytes().decode("latin-1") for path in files},
    }
    assert {name: found for name, text in everything.items() if (found := leaks(text))} == {}
