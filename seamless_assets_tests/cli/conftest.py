"""A project of one series on a local exchange, and commands typed into it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seamless_assets.cli import app, terminal
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

SYMBOL = "币安人生/USDT"
NODE = f"ohlcv:binance:{SYMBOL}:1m"
"""A node whose name is not ASCII."""


@dataclass(frozen=True)
class Told:
    """What a command ended with, and what it wrote, decoded as its console would."""

    status: int
    out: str
    err: str


Typed = Callable[..., Told]


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    """A local exchange whose clock stands two days after the first bars."""
    with Sandbox(now=START + 2 * DAY, markets=[Market(SYMBOL, 100.0)]).running() as sandbox:
        yield sandbox


@pytest.fixture
def project(exchange: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project, which is where commands are typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seamless.yaml").write_text(
        f"""
seamless:
  artifact: {{object_store_uri: ./data/artifacts}}
  hot_store: {{dsn: "sqlite:///./data/hot.sqlite"}}
  backfill: {{retry_backoff_ms: 1, max_attempts: 1}}
exchanges:
  binance:
    base_url: {exchange.url}
    symbols: ["{SYMBOL}"]
    timeframes: ["1m"]
    start: 2025-01-01
""",
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type a command on a console of an encoding."""

    def type_it(*words: str, encoding: str = "utf-8") -> Told:
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["seamless", *words])
            terminal.open_streams()
            try:
                status = app.run()
            except SystemExit as ended:
                status = int(ended.code or 0)
            terminal.close_streams()
        out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams.values())  # type: ignore[attr-defined]
        return Told(status, out, err)

    return type_it
