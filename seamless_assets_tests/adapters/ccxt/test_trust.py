"""Whom clients trust over TLS: read once for all of them, and again where it changed."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path
from typing import Any

import certifi

from seamless_assets.adapters.ccxt.client import new_client
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.core.sharing.token_bucket import Budget


async def trusted_by(**options: Any) -> ssl.SSLContext | bool:
    """What a client with these options of ccxt gives to its connections."""
    settings = ClientSettings("binance", Budget(1, 1_000, 1), options=options)
    client = new_client("binance", settings, gate=None)  # type: ignore[arg-type]
    client.open()
    try:
        context: ssl.SSLContext | bool = client.tcp_connector._ssl
        assert context is client.ssl_context
        return context
    finally:
        await client.close()


async def test_clients_that_trust_the_same_read_it_once() -> None:
    first = await trusted_by()
    assert isinstance(first, ssl.SSLContext) and first.verify_mode is ssl.CERT_REQUIRED
    assert first.check_hostname and first.cert_store_stats()["x509_ca"] > 0
    assert await trusted_by() is first


async def test_a_file_of_one_s_own_is_read_again_where_it_changed(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    shutil.copy(certifi.where(), own)
    first = await trusted_by(cafile=str(own))
    assert first is not await trusted_by() and await trusted_by(cafile=str(own)) is first
    os.utime(own, ns=(0, 0))
    assert await trusted_by(cafile=str(own)) is not first


async def test_who_wants_other_trust_has_it_alone() -> None:
    assert await trusted_by(verify=False) is False
    more = await trusted_by(options={"include_OS_certificates": True})
    assert more is not await trusted_by()
