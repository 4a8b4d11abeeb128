"""A local exchange that does not run is told as that, with what starts it: the network is not at fault."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import aiohttp
import ccxt
import pytest
from cli.conftest import NODE, Typed

from seamless_assets.adapters.ccxt.answers import typed as typed_error
from seamless_assets.sandbox.server import Sandbox


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_of_this_machine_where_nobody_listens_is_named_with_what_starts_it(
    exchange: Sandbox, project: Path, typed: Typed, host: str
) -> None:
    settings = project / "seamless.yaml"
    # Bound, so that nobody else takes it, and not listened on.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        text = settings.read_text("utf-8").replace(exchange.url, f"http://{host}:{port}")
        settings.write_text(text, "utf-8")
        asked = typed("doctor", "--json")
        made = typed("materialize", NODE, "2025-01-01", "2025-01-02")
    (advice,) = (one["advice"] for one in json.loads(asked.out) if one["part"] == "binance")
    for told in (advice, made.out):
        assert f"nothing listens at {host}:{port}" in told
        assert f"`seamless sandbox --port {port}`" in told and "`seamless up`" in told
        assert "network" not in told and "ClientConnectorError" not in told
    assert (asked.status, made.status) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "host", "port", "command"),
    [
        (aiohttp.ClientConnectorError, "127.0.0.1", 8080, "`seamless sandbox`"),
        (aiohttp.ClientConnectorError, "::1", 8081, "`seamless sandbox --port 8081`"),
        (aiohttp.ClientConnectorError, "api.example.com", 443, None),
        (aiohttp.ClientProxyConnectionError, "127.0.0.1", 3128, None),
    ],
)
def test_a_refusal_elsewhere_and_by_a_proxy_stays_one_of_the_network(
    kind: type[aiohttp.ClientConnectorError], host: str, port: int, command: str | None
) -> None:
    key = aiohttp.client_reqrep.ConnectionKey(host, port, False, True, None, None, None)
    error = ccxt.ExchangeNotAvailable("binance GET")
    error.__cause__ = kind(key, ConnectionRefusedError(111, "Connect call failed"))
    told = typed_error(error, [], "binance markets")
    if command is None:
        assert "ClientConnectorError" in str(told) or "ClientProxyConnectionError" in str(told)
        assert "silent_place" not in told.facts
    else:
        assert command in str(told) and told.facts["silent_place"] == f"{host}:{port}"
