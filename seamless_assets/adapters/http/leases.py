"""Leases of an HTTP coordinator (`seamless coordinator`): the client side of `/v1/leases`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

LEASES = "/v1/leases"
TIMEOUT_S = 5.0
CONNECTIONS = 8
HELD = 409


class HttpLeases:
    """A `LeaseStore` behind a coordinator's URL; its time is the coordinator's."""

    def __init__(self, url: str) -> None:
        self._base = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`."""
        status, told = await self._post("claim", key=key, lease_ms=_ms(ttl), holder=holder)
        return None if status == HELD else _lease(told, holder)

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on for `ttl` seconds from now, under a token above `above` where that is given.

        Raises `LeaseLost`, `LeaseStoreUnavailable`.
        """
        told = await self._owned("renew", lease, lease_ms=_ms(ttl), above=above)
        return _lease(told, lease.holder)

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned("complete", lease)

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned("fail", lease, reason=reason)

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""
        _, told = await self._ask("GET", LEASES, {200: "leases"})
        return [_lease({"lease": record}, "") for record in told["leases"]]

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the coordinator. Raises `LeaseStoreUnavailable`."""
        began, asked_at = time.perf_counter(), time.time()
        _, told = await self._ask("GET", "/healthz", {200: "version"})
        return StoreStatus(
            kind="lease coordinator",
            address=self._address(),
            version=str(told["version"]),
            lag=f"its clock is {told['now_ms'] / 1000 - asked_at:+.1f} s from ours",
            latency_ms=(time.perf_counter() - began) * 1000,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _owned(self, action: str, lease: Lease, **more: Any) -> dict[str, Any]:
        status, told = await self._post(action, key=lease.key, token=lease.token, **more)
        if status == HELD:
            raise LeaseLost(str(told["error"]), key=lease.key, token=lease.token, holder=told.get("holder"))
        return told

    async def _post(self, action: str, **body: Any) -> tuple[int, dict[str, Any]]:
        return await self._ask("POST", f"{LEASES}/{action}", {200: "completion_ratio", HELD: "error"}, body)

    async def _ask(
        self, method: str, path: str, wanted: Mapping[int, str], body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer that is the coordinator's own: one of `wanted`, with that field."""
        try:
            try:
                status, told = await self._answer(method, path, body)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientError, TimeoutError):
                # A connection that the server had closed, or an answer that a busy process saw too late.
                # Whatever is asked may be asked twice.
                status, told = await self._answer(method, path, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        if not isinstance(told, dict) or wanted.get(status) not in told:
            raise self._unavailable(f"it answers {status}: {str(told)[:200]}")
        return status, told

    async def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
            connections = aiohttp.TCPConnector(limit=CONNECTIONS)
            self._session = aiohttp.ClientSession(timeout=patience, connector=connections)
        async with self._session.request(method, f"{self._base}{path}", json=body) as answer:
            return answer.status, await answer.json()

    def _unavailable(self, reason: str) -> LeaseStoreUnavailable:
        address = self._address()
        return LeaseStoreUnavailable(
            f"the lease coordinator at {address} cannot be reached: {reason}; check that `seamless "
            "coordinator` runs there",
            address=address,
        )

    def _address(self) -> str:
        parts = urlsplit(self._base)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _lease(told: dict[str, Any], holder: str) -> Lease:
    lease = told["lease"]
    return Lease(lease["key"], lease["token"], lease.get("holder", holder), lease["lease_until_ms"] / 1000)


def _ms(ttl: float) -> int:
    return max(1, math.ceil(ttl * 1000))
