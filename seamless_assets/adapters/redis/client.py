"""Scripts on a Redis server: short timeouts, no silent retry, every failure one typed error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, RedisError
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as TimedOut

from seamless_assets.adapters.redis.causes import dropped_keys, explained, scattered
from seamless_assets.core.addresses import secrets_of, without_user
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.errors import SeamlessError, mask_causes

CONNECTIONS = 8
_PROBE = """
local time = redis.call('TIME')
redis.call('INFO', 'server')
redis.call('HSET', KEYS[1], 'at', time[1])
redis.call('PEXPIRE', KEYS[1], '60000')
local found = redis.call('HMGET', KEYS[1], 'at')
redis.call('HGETALL', KEYS[1])
redis.call('HDEL', KEYS[1], 'at')
redis.call('DEL', KEYS[1])
return found[1] .. '.' .. string.format('%06d', time[2])
"""
"""Does what budgets, leases and fills do, and gives the server's time."""


class RedisScript:
    """One Lua script on the server at `url`, over keys that begin with `prefix`.

    What fails becomes `error`, said of `what`.
    """

    def __init__(
        self, url: str, source: str, prefix: str, what: str, error: type[SeamlessError], timeout_s: float
    ) -> None:
        # A retry would hide an outage from those who have something else to fall back to.
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            # Who waits for a connection of a server that hangs is not to wait for all before it.
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._client = Redis.from_pool(self._pool)
        self._script = self._client.register_script(source)
        self._secrets = secrets_of(url)
        self._probe, self._probe_key = self._client.register_script(_PROBE), f"{prefix}probe"
        self._address, self._what, self._error = without_user(url), what, error

    async def run(self, key: str, *arguments: str | float, is_repeatable: bool = True) -> list[str]:
        """What the script returns for `key`; where it `is_repeatable`, it may have run twice."""
        texts = [argument if isinstance(argument, str) else repr(argument) for argument in arguments]
        with self._typed():
            try:
                return await self._answer(key, texts)
            except (ConnectionLost, TimedOut) as error:
                if _is_crowded_out(error):
                    raise
                # A connection of before a restart of the server, or an answer that a busy process saw late.
                await self._pool.disconnect(inuse_connections=False)
                if not is_repeatable:
                    raise
                return await self._answer(key, texts)

    async def _answer(self, key: str, arguments: Sequence[str]) -> list[str]:
        answer: list[str] = await self._script(keys=[key], args=arguments)
        return answer

    async def keys(self, pattern: str) -> set[str]:
        """Keys that match."""
        with self._typed():
            return {str(key) async for key in self._client.scan_iter(match=pattern, count=1000)}

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server, once it has done a piece of our work."""
        with self._typed():
            info = await self._client.info("server")
            if info.get("redis_mode") == "cluster":
                _refuse_scattered(await self._client.cluster("INFO"))
            began, asked_at = time.perf_counter(), time.time()
            now = float(await self._probe(keys=[self._probe_key], args=[]))
            latency_ms = (time.perf_counter() - began) * 1000
            memory = await self._client.info("memory")
            await self._client.scan(match=self._probe_key, count=1)
        return StoreStatus(
            kind="Redis",
            address=self._address,
            version=str(info["redis_version"]),
            lag=f"its clock is {now - asked_at:+.1f} s from ours",
            latency_ms=latency_ms,
            warning=dropped_keys(memory),
        )

    async def close(self) -> None:
        """Close the connections, those to a server that hangs too."""
        with suppress(RedisError):
            await self._client.aclose()

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            mask_causes(error, self._secrets)
            raise self._error(
                f"{self._what} at {self._address} {explained(error)}", address=self._address
            ) from error


def _is_crowded_out(error: Exception) -> bool:
    """Whether all connections were in use for as long as an answer may take: nobody before it got one."""
    return isinstance(error.__cause__, asyncio.TimeoutError)


def _refuse_scattered(cluster: Any) -> None:
    """Raise `ClusterDownError` for a node that does not serve all keys alone."""
    info = cluster if isinstance(cluster, dict) else dict(line.split(":", 1) for line in cluster.split())
    if reason := scattered(info):
        raise ClusterDownError(reason)
