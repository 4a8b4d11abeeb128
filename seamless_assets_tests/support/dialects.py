"""Real, unmodified ccxt at a service that speaks as the exchanges do, or at the local exchange itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt.async_support
from support.served import served

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app

SYMBOLS = {
    "binance": ("BTC/USDT", "BTC/USDT:USDT"),
    "bybit": ("BTC/USDT", "BTC/USDT:USDT"),
    "coinbase": ("BTC/USD",),
    "kraken": ("ADA/BTC",),
    "okx": ("ADA/BTC", "BTC/USDT:USDT"),
}


def moved(urls: Any, base: str, prefix: str = "") -> Any:
    """ccxt's addresses on another host, below a prefix; the path stays."""
    if isinstance(urls, dict):
        return {name: moved(url, base, prefix) for name, url in urls.items()}
    asked, place = urlsplit(urls), urlsplit(base)
    scheme = "ws" if asked.scheme in ("ws", "wss") else place.scheme
    return urlunsplit((scheme, place.netloc, prefix + asked.path, asked.query, asked.fragment))


def client(name: str, base: str, prefix: str = "", module: ModuleType = ccxt.async_support) -> Any:
    """A ccxt exchange of `module` whose base URL alone is another one."""
    made = getattr(module, name)({"enableRateLimit": False})
    made.urls["api"] = moved(made.urls["api"], base, prefix)
    return made


@dataclass(frozen=True, slots=True)
class Rig:
    """A local exchange, a pipeline over it, and the URL of its service, which speaks dialects."""

    exchange: Sandbox
    pipeline: sa.Seamless
    url: str


@contextmanager
def running(
    folder: Path,
    exchange: Sandbox,
    symbols: dict[str, tuple[str, ...]],
    start: str,
    frames: tuple[str, ...] = ("1m", "1h"),
    live: str = "polling",
    derived: tuple[dict[str, Any], ...] = (),
    **service: Any,
) -> Iterator[Rig]:
    """The service of a pipeline over a local exchange that runs already."""
    folder.mkdir(exist_ok=True)
    venue = {"base_url": exchange.url, "timeframes": list(frames), "start": start, "live": live}
    declared = {name: {**venue, "symbols": list(own)} for name, own in symbols.items()}
    stores = {
        "artifact": {"object_store_uri": str(folder / "artifacts")},
        "hot_store": {"dsn": f"sqlite:///{folder}/hot.sqlite"},
        "state_dir": str(folder / "state"),
    }
    settings = settings_from_mapping(
        {"seamless": stores, "exchanges": declared, "derived": list(derived)}
        | {"service": {"dialects": True, **service}},
        environ={},
    )

    async def scrape() -> str:
        return ""

    with ExitStack() as stack:
        pipeline = stack.enter_context(sa.connect(settings))
        leases = MachineLeases(folder / "leases.sqlite")
        url = stack.enter_context(served(service_app(pipeline, leases, scrape)))
        yield Rig(exchange, pipeline, url)
