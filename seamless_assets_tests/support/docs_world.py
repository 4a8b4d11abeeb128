"""The project that the pages take for granted: three released days, a local exchange, files of a vendor."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import seamless_assets as sa
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, random_walk

NOW = START + 3 * DAY + 330
"""2025-01-04 and a moment, at which the exchange's clock stands."""
NODES = tuple(f"ohlcv:binance:{coin}/USDT:1m" for coin in ("BTC", "ETH"))
ENVIRONMENT = {
    "CATALOG_CREDENTIAL": "client:a-secret-of-a-catalog",
    "KEY": "key",
    "SECRET": "a-secret-of-a-bucket",
    "COORDINATOR_URL": "redis://10.0.0.5:6379/0",
    "WEBHOOK_SECRET": "a text of sixteen bytes and more",
}
"""Variables that blocks name."""
YAML = """
seamless:
  artifact: {{object_store_uri: ./data/artifacts}}
  hot_store: {{dsn: sqlite:///./data/hot.sqlite}}
  state_dir: ./data/state
  backfill: {{retry_backoff_ms: 1}}
  rate_limit: {{tokens_per_interval: 1000000, burst_tokens: 1000000}}
exchanges:
  binance:
    base_url: {url}
    symbols: ["BTC/USDT", "ETH/USDT"]
    timeframes: ["1m", "1h"]
    start: 2024-12-01
service:
  dialects: true
"""


@dataclass
class World:
    """The folder of the project, and its exchange."""

    folder: Path
    exchange: Sandbox

    def text(self) -> str:
        """Its seamless.yaml."""
        return YAML.format(url=self.exchange.url)

    def mirrored(self) -> None:
        """Have release logs mirrored as Iceberg tables from now on."""
        yaml = self.text().replace("./data/artifacts}", "./data/artifacts, mirror: iceberg}")
        (self.folder / "seamless.yaml").write_text(yaml, encoding="utf-8")


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A materialized project in `folder`."""
    with Sandbox(now=NOW).running() as exchange:
        made = World(folder, exchange)
        (folder / "seamless.yaml").write_text(made.text(), encoding="utf-8")
        with sa.connect(folder / "seamless.yaml") as s:
            for node in NODES:
                assert s.materialize(node, START, START + 3 * DAY).released
        vendor_files(folder)
        yield made


def vendor_files(folder: Path) -> None:
    """What the pages read that is not ours: a vendor's CSV, zips of an exchange, recorded bars."""
    hours = random_walk(START, START + DAY, step=3_600)
    lines = [
        f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M}," + ",".join(map(repr, hours[ts])) for ts in hours
    ]
    (folder / "vendor.csv").write_text("\n".join(["Date,Open,High,Low,Close,Vol.", *lines]))
    (folder / "vision").mkdir()
    minutes = [(ts * 1_000, *bar) for ts, bar in random_walk(START - DAY, START).items()]
    with zipfile.ZipFile(folder / "vision" / "BTCUSDT-1m-2024-12-31.zip", "w") as file:
        file.writestr("BTCUSDT-1m-2024-12-31.csv", "\n".join(",".join(map(repr, row)) for row in minutes))
