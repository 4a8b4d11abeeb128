"""A Redis that asks who is there, behind TLS: who gets in, and who learns what to mend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import require_redis
from support.services import RedisServer
from support.tls import Authority, tls_proxy

import seamless_assets as sa
from seamless_assets.adapters.redis.budget import RedisBudget
from seamless_assets.adapters.redis.leases import RedisLeases
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import BudgetUnavailable, LeaseStoreUnavailable
from seamless_assets.flows.filling.backfill import BackfillReport
from seamless_assets.sandbox.server import Sandbox

PASSWORD = "redis p@ss:w/rd?"
BUDGET = Budget(20, 1_000, 5)
START = 1_735_689_600


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that wants a password."""
    server = RedisServer(require_redis(), tmp_path_factory.mktemp("guarded") / "redis", PASSWORD)
    server.start()
    yield server
    server.kill()


def url(port: int, password: str, ca: Path | None = None, scheme: str = "rediss") -> str:
    query = f"?ssl_ca_certs={quote(str(ca))}" if ca else ""
    return f"{scheme}://:{quote(password, safe='')}@127.0.0.1:{port}/0{query}"


async def test_budget_and_leases_work_with_password_and_tls(
    guarded: RedisServer, authority: Authority
) -> None:
    async with tls_proxy(authority, guarded.port, postgres=False) as port:
        address = url(port, PASSWORD, authority.ca)
        budget, leases = RedisBudget(address), RedisLeases(address)
        assert (await budget.take("rl:tls", BUDGET, 1.0)).number == 1
        lease = await leases.claim("tls", "w", 60.0)
        assert lease is not None and (await leases.held()) == [lease]
        assert PASSWORD not in (await leases.status()).address
        await budget.close()
        await leases.close()


@pytest.mark.parametrize("wrong", ["password", "no password", "authority", "scheme"])
async def test_who_is_not_let_in_learns_why_and_never_the_password(
    guarded: RedisServer, authority: Authority, wrong: str
) -> None:
    async with tls_proxy(authority, guarded.port, postgres=False) as port:
        address = {
            "password": url(port, "an0ther", authority.ca),
            "no password": f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.ca}",
            "authority": url(port, PASSWORD),
            "scheme": url(port, PASSWORD, scheme="redis"),
        }[wrong]
        budget, leases = RedisBudget(address), RedisLeases(address)
        with pytest.raises(BudgetUnavailable, match=r"127\.0\.0\.1.*check that") as refused:
            await budget.take("rl:tls", BUDGET, 1.0)
        with pytest.raises(LeaseStoreUnavailable, match=r"127\.0\.0\.1.*check that"):
            await leases.claim("refused", "w", 60.0)
        for secret in (PASSWORD, quote(PASSWORD, safe=""), "an0ther"):
            assert secret not in str(refused.value)
        await budget.close()
        await leases.close()


async def test_a_pipeline_shares_through_a_guarded_redis(
    guarded: RedisServer,
    authority: Authority,
    exchange: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="seamless_assets")
    async with tls_proxy(authority, guarded.port, postgres=False) as port:
        declared = {
            "seamless": {"artifact": {"object_store_uri": "./artifacts"}, "state_dir": "./state"},
            "exchanges": {"bybit": {"base_url": exchange.url, "symbols": ["BTC/USDT"]}},
            "environment": {"rate_limiter_redis": "${REDIS}", "coordinator_url": "${REDIS}"},
        }
        environ = {"REDIS": url(port, PASSWORD, authority.ca)}
        settings = settings_from_mapping(declared, base=tmp_path, environ=environ)

        def backfilled() -> BackfillReport:
            with sa.connect(settings) as s:
                return s.backfill("ohlcv:bybit:BTC/USDT:1m", START, START + 86_400)

        report = await asyncio.to_thread(backfilled)
    assert (report.problems, report.coverage.missing) == ((), 0)
    assert "_lost" not in caplog.text and "backfill_complete" in caplog.text
    assert quote(PASSWORD, safe="") not in caplog.text + repr(settings) + repr(report)
