"""Leases of an HTTP coordinator (`seamless coordinator`): the client side of `/v1/leases`.

Whatever an address answers that is not what a coordinator says means that the coordinator is away.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import aiohttp
from msgspec import Meta, MsgspecError, Struct
from msgspec.json import decode

from seamless_assets.core.addresses import authorization_of, without_user
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import MAX_TOKEN, PROBES, Lease, cut_reason
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

LEASES = "/v1/leases"
TIMEOUT_S = 5.0
PROBE_TTL_S = 5.0
CONNECTIONS = 8
ANSWER_BYTES = 16 * 2**20
"""More than a list of fifty thousand leases needs."""
OK, HELD = 200, 409
LATEST_MS = 253_402_300_800_000
"""The end of the year 9999."""


class _Record(Struct):
    key: str
    token: Annotated[int, Meta(gt=0, lt=MAX_TOKEN)]
    lease_until_ms: Annotated[int, Meta(gt=0, lt=LATEST_MS)]
    holder: str = ""

    def as_lease(self, holder: str) -> Lease:
        return Lease(self.key, self.token, self.holder or holder, self.lease_until_ms / 1000)


class _Grant(Struct):
    lease: _Record


class _End(Struct):
    completion_ratio: Annotated[float, Meta(ge=0, le=1)]


class _List(Struct):
    leases: list[_Record]


class _Health(Struct):
    version: str
    now_ms: Annotated[int, Meta(gt=0, lt=LATEST_MS)]


class _Refusal(Struct):
    error: str
    holder: str | None = None


A = TypeVar("A", bound=_Grant | _End | _List | _Health | _Refusal)


class HttpLeases:
    """A `LeaseStore` behind a coordinator's URL, which is shown `token`; its time is the coordinator's."""

    def __init__(self, url: str, token: str | None = None) -> None:
        # Who asks is named in a header: what is shown of an address stands in logs and errors.
        self._base = without_user(url).rstrip("/")
        self._authorization = f"Bearer {token}" if token else authorization_of(url)
        self._session: aiohttp.ClientSession | None = None

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`."""
        answer = await self._post("claim", _Grant, key=key, lease_ms=_ms(ttl), holder=holder)
        return None if isinstance(answer, _Refusal) else self._granted(answer, key, holder)

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on for `ttl` seconds from now, under a token above `above` where that is given.

        Raises `LeaseLost`, `LeaseStoreUnavailable`.
        """
        more = {} if above is None else {"above": above}
        grant = await self._owned("renew", _Grant, lease, lease_ms=_ms(ttl), **more)
        return self._granted(grant, lease.key, lease.holder)

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned("complete", _End, lease)

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned("fail", _End, lease, reason=cut_reason(reason))

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""
        answer = await self._get(LEASES, _List)
        return [record.as_lease("") for record in answer.leases]

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the coordinator, which granted a lease and took it back.

        Raises `LeaseStoreUnavailable`.
        """
        began, asked_at = time.perf_counter(), time.time()
        health = await self._get("/healthz", _Health)
        latency_ms, lag = (time.perf_counter() - began) * 1000, health.now_ms / 1000 - asked_at
        lease = await self.claim(f"{PROBES}{secrets.token_hex(6)}", "doctor", PROBE_TTL_S)
        if lease is None:
            raise self._odd("it says that what nobody claims is held")
        with suppress(LeaseLost):
            await self.complete(lease)
        return StoreStatus(
            kind="lease coordinator",
            address=self._base,
            version=health.version,
            lag=f"its clock is {lag:+.1f} s from ours",
            latency_ms=latency_ms,
        )

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _granted(self, grant: _Grant, key: str, holder: str) -> Lease:
        if grant.lease.key != key:
            raise self._odd(f"it grants {grant.lease.key[:200]!r} where {key} was asked for")
        return grant.lease.as_lease(holder)

    async def _owned(self, action: str, kind: type[A], lease: Lease, **more: Any) -> A:
        answer = await self._post(action, kind, key=lease.key, token=lease.token, **more)
        if isinstance(answer, _Refusal):
            raise LeaseLost(answer.error, key=lease.key, token=lease.token, holder=answer.holder)
        return answer

    async def _post(self, action: str, kind: type[A], **body: Any) -> A | _Refusal:
        status, payload = await self._ask("POST", f"{LEASES}/{action}", body)
        return self._read(status, payload, _Refusal) if status == HELD else self._read(status, payload, kind)

    async def _get(self, path: str, kind: type[A]) -> A:
        return self._read(*await self._ask("GET", path, None), kind)

    def _read(self, status: int, payload: bytes, kind: type[A]) -> A:
        try:
            if status not in (OK, HELD):
                raise ValueError
            return decode(payload, type=kind)
        except (MsgspecError, ValueError, RecursionError) as error:
            excerpt = " ".join(payload[:200].decode(errors="replace").split())
            raise self._odd(f"it answers {status}: {excerpt}") from error

    async def _ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        """Status and body of an answer. Whatever is asked may be asked twice."""
        try:
            try:
                return await self._answer(method, path, body)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientError, TimeoutError):
                # A connection that the server had closed, or an answer that a busy process saw too late.
                return await self._answer(method, path, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unavailable(
                f"cannot be reached: {str(error) or type(error).__name__}",
                "check that `seamless coordinator` runs there",
            ) from error

    async def _answer(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
            connections = aiohttp.TCPConnector(limit=CONNECTIONS)
            headers = {"Authorization": self._authorization} if self._authorization else {}
            self._session = aiohttp.ClientSession(timeout=patience, connector=connections, headers=headers)
        asked = self._session.request(method, f"{self._base}{path}", json=body, allow_redirects=False)
        async with asked as answer, asyncio.timeout(TIMEOUT_S):
            payload = bytearray()
            async for piece in answer.content.iter_any():
                payload += piece
                if len(payload) > ANSWER_BYTES:
                    raise self._odd(f"its answer is longer than {ANSWER_BYTES} bytes")
            return answer.status, bytes(payload)

    def _odd(self, reason: str) -> LeaseStoreUnavailable:
        return self._unavailable(
            f"does not answer as one does: {reason}",
            "check that environment.coordinator_url names a `seamless coordinator` of this version",
        )

    def _unavailable(self, reason: str, advice: str) -> LeaseStoreUnavailable:
        return LeaseStoreUnavailable(
            f"the lease coordinator at {self._base} {reason}; {advice}", address=self._base
        )


def _ms(ttl: float) -> int:
    return max(1, math.ceil(ttl * 1000))
