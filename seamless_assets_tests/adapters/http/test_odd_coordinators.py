"""Addresses that answer what no coordinator says: it is away, in so many words, and nothing else happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from seamless_assets.adapters.http import leases as client
from seamless_assets.adapters.http.leases import HttpLeases
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

LEASE = Lease("k", 5, "w", 0.0)
RECORD = {"key": "k", "token": 5, "holder": "w", "lease_until_ms": 1_735_689_600_000}


def granted(**other: object) -> str:
    return json.dumps({"lease": {**RECORD, **other}, "completion_ratio": 0.0})


ODD = [
    (409, "<html>conflict</html>"),
    (409, '{"error": {"why": "no"}}'),
    (200, ""),
    (200, "{}"),
    (200, "[1]"),
    (200, "null"),
    (200, "<!DOCTYPE html><title>Sign in</title>"),
    (200, '{"lease": '),
    (200, "[" * 100_000),
    (200, "\xff\xfe"),
    (200, '{"lease": null}'),
    (200, granted(token="5")),
    (200, granted(token=5.5)),
    (200, granted(token=-5)),
    (200, granted(token=2**80)),
    (200, granted(token=None)),
    (200, granted(lease_until_ms="soon")),
    (200, granted(lease_until_ms=10**30)),
    (200, granted(lease_until_ms=-1)),
    (200, granted(key="another")),
    (200, granted(key=7)),
    (200, granted(holder={})),
    (200, granted().replace("5,", "NaN,")),
    (200, granted().replace("1735689600000", "1e400")),
    (201, granted()),
    (204, ""),
    (400, '{"error": "no"}'),
    (404, "not found"),
    (500, '{"error": "no"}'),
    (503, "<html>try later</html>"),
]


@asynccontextmanager
async def answering(status: int, body: bytes, **headers: str) -> AsyncIterator[HttpLeases]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **headers})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    leases = HttpLeases(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield leases
    finally:
        await leases.close()
        await runner.cleanup()


@pytest.mark.parametrize(("status", "body"), ODD)
async def test_an_answer_that_is_not_the_coordinators_means_it_is_away(status: int, body: str) -> None:
    async with answering(status, body.encode("latin-1")) as leases:
        with pytest.raises(LeaseStoreUnavailable, match=r"does not answer as one does.*coordinator_url"):
            await leases.claim("k", "w", 60)
        with pytest.raises(LeaseStoreUnavailable):
            await leases.renew(LEASE, 60)
        with pytest.raises(LeaseStoreUnavailable):
            await leases.held()
        with pytest.raises(LeaseStoreUnavailable):
            await leases.status()


@pytest.mark.parametrize("body", [b'{"completion_ratio": "1"}', b'{"completion_ratio": NaN}', b"{}", b"[]"])
async def test_an_end_that_is_not_confirmed_is_none(body: bytes) -> None:
    async with answering(200, body) as leases:
        for ending in (leases.complete(LEASE), leases.fail(LEASE, "no")):
            with pytest.raises(LeaseStoreUnavailable):
                await ending


@pytest.mark.parametrize("body", [b'{"leases": 5}', b'{"leases": [5]}', b'{"leases": [{"key": "k"}]}'])
async def test_a_list_that_is_none_is_reported(body: bytes) -> None:
    async with answering(200, body) as leases:
        with pytest.raises(LeaseStoreUnavailable):
            await leases.held()


@pytest.mark.parametrize("now", ["NaN", '"x"', "null", "1e30", "-5"])
async def test_a_clock_that_is_none_is_reported(now: str) -> None:
    async with answering(200, f'{{"version": "1", "now_ms": {now}}}'.encode()) as leases:
        with pytest.raises(LeaseStoreUnavailable):
            await leases.status()


async def test_nobody_is_sent_elsewhere() -> None:
    async with answering(200, granted().encode()) as other:
        place = f"{other._base}/v1/leases/claim"
        for status in (301, 302, 303, 307, 308):
            async with answering(status, b"", Location=place) as leases:
                with pytest.raises(LeaseStoreUnavailable, match=str(status)):
                    await leases.claim("k", "w", 60)


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1_000)
    async with answering(200, b" " * 2_000) as leases:
        with pytest.raises(LeaseStoreUnavailable, match="longer than 1000 bytes"):
            await leases.claim("k", "w", 60)


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)

    gone = asyncio.Semaphore(0)

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        gone.release()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        leases = HttpLeases(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with asyncio.timeout(20):
            with pytest.raises(LeaseStoreUnavailable):
                await leases.claim("k", "w", 60)
            # It was asked twice.
            await gone.acquire()
            await gone.acquire()
        await leases.close()


async def test_a_refusal_says_who_holds_it() -> None:
    async with answering(409, b'{"error": "k is held", "holder": "another", "more": [1]}') as leases:
        assert await leases.claim("k", "w", 60) is None
        with pytest.raises(LeaseLost, match="k is held") as lost:
            await leases.renew(LEASE, 60)
        assert lost.value.holder == "another"
