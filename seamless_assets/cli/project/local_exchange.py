"""The local exchange beside a command, at the addresses of this machine that the settings name."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from seamless_assets.cli.terminal import say
from seamless_assets.config.load import Settings
from seamless_assets.core.addresses import without_user
from seamless_assets.errors import ConfigError, InvalidInput

_HERE = ("127.0.0.1", "localhost", "::1")


@contextmanager
def local_exchanges(settings: Settings, *, must_be_ours: bool) -> Iterator[None]:
    """Start the local exchange wherever a base_url names this machine and nothing listens.

    One that runs already is used as it is. So is another program, unless the exchange `must_be_ours`: then
    it raises `ConfigError`.
    """
    urls = {without_user(exchange.base_url) for exchange in settings.exchanges.values() if exchange.base_url}
    with ExitStack() as running:
        for url in sorted(url for url in urls if urlsplit(url).hostname in _HERE):
            running.enter_context(_local_exchange(url, must_be_ours))
        yield


@contextmanager
def _local_exchange(url: str, must_be_ours: bool) -> Iterator[None]:
    # ccxt's dialects are of no use to a command that asks a real exchange.
    from seamless_assets.sandbox.server import Sandbox

    place = urlsplit(url)
    host, port = place.hostname or "127.0.0.1", place.port or 80
    if _is_local_exchange(url):
        say(f"local exchange: already running at {url}")
        yield
    elif is_free(host, port):
        with Sandbox(host=host, port=port).running() as exchange:
            say(f"local exchange, with made-up candles: {exchange.url}")
            yield
    elif must_be_ours:
        raise ConfigError(
            f"{url}, a base_url in seamless.yaml, is taken by another program; stop it, or set "
            "SEAMLESS_EXCHANGE to an address that is free, such as http://127.0.0.1:8081",
            problems=(),
        )
    else:
        say(f"exchange: what answers at {url}")
        yield


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens at a port."""
    return _refusal(host, port) is None


def require_free(host: str, port: int, option: str = "--port") -> None:
    """Raise `InvalidInput` where nothing can listen at a port, which `option` names."""
    refusal = _refusal(host, port)
    if refusal is None:
        return
    if refusal.errno == errno.EADDRINUSE:
        raise InvalidInput(f"{host}:{port} is taken by another program; choose another {option}", value=port)
    raise InvalidInput(
        f"{host}:{port} cannot be listened on: {refusal.strerror}; choose another --host or {option}",
        value=port,
    )


def _refusal(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _is_local_exchange(url: str) -> bool:
    try:
        with urlopen(f"{url.rstrip('/')}/_sandbox/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
