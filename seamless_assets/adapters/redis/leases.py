"""Leases in Redis: one atomic Lua script, on the server's clock."""

from __future__ import annotations

from seamless_assets.adapters.redis.client import RedisScript
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

PREFIX = "lease:"
TIMEOUT_S = 5.0

_SCRIPT = """
local key, op = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local state = redis.call('HMGET', key, 'token', 'holder', 'until', 'ttl')
local function number(text) local value = tonumber(text or 0) or 0; return value == value and value or 0 end
local token, holder, ends, ttl = number(state[1]), state[2] or '', number(state[3]), number(state[4])
if token > 9007199254740991 then token = 0 end
-- A lease cannot last longer than it was granted for; one that seems to was granted before the clock was set
-- back.
local is_held = holder ~= '' and ends > now and (not state[4] or ends <= now + 2 * ttl)

local function keep(holder, ends)
  local whole, last = string.format('%.0f', token), string.format('%.0f', ends)
  local span = string.format('%.0f', ends - now)
  redis.call('HSET', key, 'token', whole, 'holder', holder, 'until', last, 'ttl', span)
  -- The key outlives its lease, so that tokens only grow; later ones outgrow it by the clock.
  redis.call('PEXPIRE', key, string.format('%.0f', math.max(0, ends - now) / 1000 + 86400000))
  return {whole, holder, last}
end

if op == 'look' then
  return is_held and {string.format('%.0f', token), holder, string.format('%.0f', ends)} or {}
end
if op == 'claim' then
  if is_held and holder ~= ARGV[2] then return {} end
  if not is_held then token = math.max(token + 1, now) end
  return keep(ARGV[2], now + tonumber(ARGV[3]))
end
if not is_held or token ~= tonumber(ARGV[2]) then return {'', is_held and holder or ''} end
if op == 'renew' then
  token = math.max(token, tonumber(ARGV[4]) + 1)
  return keep(holder, now + tonumber(ARGV[3]))
end
return keep('', now)
"""


class RedisLeases:
    """A `LeaseStore` that all workers of a cluster share."""

    def __init__(self, url: str) -> None:
        self._script = RedisScript(url, _SCRIPT, PREFIX, "the lease store", LeaseStoreUnavailable, TIMEOUT_S)

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`."""
        reply = await self._script.run(PREFIX + key, "claim", holder, ttl * 1e6)
        return _lease(key, reply)

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on for `ttl` seconds from now, under a token above `above` where that is given.

        Raises `LeaseLost`, `LeaseStoreUnavailable`.
        """
        return await self._owned(lease, "renew", ttl * 1e6, str(above or 0))

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned(lease, "end")

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._owned(lease, "end")

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""
        keys = sorted(await self._script.keys(f"{PREFIX}*"))
        found = [_lease(key.removeprefix(PREFIX), await self._script.run(key, "look")) for key in keys]
        return [lease for lease in found if lease is not None]

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server. Raises `LeaseStoreUnavailable`."""
        return await self._script.status()

    async def close(self) -> None:
        """Close the connections."""
        await self._script.close()

    async def _owned(self, lease: Lease, op: str, *more: str | float) -> Lease:
        reply = await self._script.run(PREFIX + lease.key, op, str(lease.token), *more)
        renewed = _lease(lease.key, reply) if reply[0] else None
        if renewed is None:
            by = f"{reply[1]} holds it now" if reply[1] else "it ran out or was given back"
            raise LeaseLost(
                f"{lease.holder} no longer holds {lease.key} (token {lease.token}): {by}; claim it again",
                key=lease.key,
                token=lease.token,
                holder=reply[1] or None,
            )
        return renewed


def _lease(key: str, reply: list[str]) -> Lease | None:
    if not reply:
        return None
    token, holder, ends = reply
    return Lease(key, int(token), holder, int(ends) / 1e6)
