"""Decisions of an outside world service over HTTP: `GET {url}/worlds/{world_id}/decide?as_of=`."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import quote

import aiohttp

from seamless_assets.core.addresses import without_user
from seamless_assets.core.worlds.decision import Decision, parse_decision
from seamless_assets.errors import WorldServiceUnavailable

TIMEOUT_S = 2.0
MAX_BYTES = 65_536
NOT_MODIFIED = 304


class HttpWorldService:
    """A `WorldService` at a URL. An unchanged decision (304, by its ETag) holds for its time anew."""

    def __init__(self, url: str) -> None:
        self._base = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def decide(self, world_id: str, as_of: str | None, known: Decision | None) -> Decision:
        """The decision on a world. Raises `WorldServiceUnavailable`."""
        headers = {"If-None-Match": f'"{known.etag}"'} if known and known.etag else {}
        query = {"as_of": as_of} if as_of else {}
        address = f"{self._base}/worlds/{quote(world_id, safe='')}/decide"
        try:
            if self._session is None:
                patience = aiohttp.ClientTimeout(total=TIMEOUT_S)
                self._session = aiohttp.ClientSession(timeout=patience)
            async with self._session.get(address, params=query, headers=headers) as answer:
                if answer.status == NOT_MODIFIED and known is not None:
                    return known
                if answer.status != 200:
                    raise self._away(f"it answers {answer.status}")
                body = await answer.content.read(MAX_BYTES + 1)
                if len(body) > MAX_BYTES:
                    raise self._away(f"its answer is longer than {MAX_BYTES} bytes")
                decision = parse_decision(json.loads(body))
                return replace(decision, etag=decision.etag or answer.headers.get("ETag", "").strip('"'))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._away(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _away(self, why: str) -> WorldServiceUnavailable:
        address = without_user(self._base)
        return WorldServiceUnavailable(
            f"the world service at {address} gives no decision: {why}; check environment.world_service_url",
            address=address,
        )
