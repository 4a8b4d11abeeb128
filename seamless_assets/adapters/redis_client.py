"""Scripts on a Redis server: short timeouts, no silent retry, every failure one typed error."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from seamless_assets.errors import SeamlessError

TIMEOUT_S = 1.0


class RedisScript:
    """One Lua script on the server at `url`; what fails becomes `error`, said of `what`."""

    def __init__(self, url: str, source: str, what: str, error: type[SeamlessError]) -> None:
        # A retry would hide an outage from those who have something else to fall back to.
        self._client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._script = self._client.register_script(source)
        self._address, self._what, self._error = _without_password(url), what, error

    async def run(self, key: str, *arguments: str | float) -> list[str]:
        """What the script returns for `key`."""
        told = [argument if isinstance(argument, str) else repr(argument) for argument in arguments]
        try:
            answer: list[str] = await self._script(keys=[key], args=told)
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error
        return answer

    async def keys(self, pattern: str) -> set[str]:
        """Keys that match."""
        try:
            return {str(key) async for key in self._client.scan_iter(match=pattern, count=1000)}
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _unavailable(self, error: Exception) -> SeamlessError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return self._error(
            f"{self._what} at {self._address} cannot be reached: {reason}; check that the server runs and "
            "that its address and password are right",
            address=self._address,
        )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
