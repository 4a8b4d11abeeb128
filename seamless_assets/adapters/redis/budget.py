"""The rate budget of a cluster: `core.token_bucket` as one atomic Lua script, on the server's clock."""

from __future__ import annotations

from dataclasses import replace

from seamless_assets.adapters.redis.client import RedisScript
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S, Budget, Place
from seamless_assets.errors import BudgetUnavailable

TIMEOUT_S = 1.0
GRACE_S = 2.0
"""How long a server that has just started admits nobody: by then, all who did without it are back."""

_SCRIPT = """
local key, op = KEYS[1], ARGV[1]
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local interval, grace = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function text(number) return string.format('%.17g', number) end

local info = redis.call('INFO', 'server')
local run = string.match(info, 'run_id:(%w+)')
local uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
local state = redis.call('HMGET', key, 'tokens', 'at', 'born', 'queued', 'cool_until', 'paused', 'run')
local is_known = state[7] == run
local tokens, at, born = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[3] or 0)
local queued, cool_until, paused = tonumber(state[4] or 0), tonumber(state[5] or 0), tonumber(state[6] or 0)

if not is_known then
  -- What was admitted just before a restart may be forgotten, so the bucket starts empty.
  tokens, at, born, queued, paused = 0, now, now, 0, 0
  cool_until = math.max(cool_until, now + grace - uptime)
  if not state[7] and uptime > interval then tokens = burst end
end
if now < at then
  cool_until = cool_until - (at - now)
else
  local cooled = math.min(now, math.max(at, cool_until)) - at
  tokens = math.min(burst, tokens + (now - at - cooled) * rate)
end
at = now

local wait, cooling = 0, 0
if op == 'take' then
  local cost = tonumber(ARGV[6])
  local lacking = math.max(0, math.min(cost, burst) - tokens)
  cooling = math.max(0, cool_until - now)
  wait = lacking / rate + cooling
  tokens, queued = tokens - cost, queued + 1
elseif op == 'cool_down' then
  local begun = math.max(cool_until, now)
  cool_until = math.max(cool_until, now + tonumber(ARGV[6]))
  paused = paused + cool_until - begun
elseif op == 'settle' then
  local cost, known_as = tonumber(ARGV[6]), tonumber(ARGV[7])
  if known_as < 0 or known_as == born then
    local pause = math.min(cost, burst) / rate
    if tokens >= 0 then
      tokens = math.max(0, tokens - cost)
    else
      cool_until, paused = math.max(cool_until, now) + pause, paused + pause
    end
  end
else
  if not is_known or tonumber(ARGV[9]) ~= born then return {} end
  if op == 'moved' then
    local added = text(math.max(0, paused - tonumber(ARGV[8])))
    return {added, text(queued), text(paused), text(born), added, text(now)}
  end
  if tonumber(ARGV[7]) == queued then
    tokens, queued = math.min(burst, tokens + tonumber(ARGV[6])), queued - 1
  end
end

redis.call('HSET', key, 'tokens', text(tokens), 'at', text(at), 'born', text(born), 'queued', text(queued),
  'cool_until', text(cool_until), 'paused', text(paused), 'run', run)
local idle = (burst - tokens) / rate + math.max(0, cool_until - now) + 2 * interval + 60
redis.call('PEXPIRE', key, string.format('%d', idle * 1000))
return {text(wait), text(queued), text(paused), text(born), text(cooling), text(now)}
"""


class RedisBudget:
    """A `BudgetStore` that all workers of a cluster share."""

    def __init__(self, url: str) -> None:
        self._script = RedisScript(url, _SCRIPT, "the rate budget", BudgetUnavailable, TIMEOUT_S)

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`. Raises `BudgetUnavailable`."""
        wait, number, paused, born, cooling, _ = await self._run("take", key, budget, cost)
        return Place(cost, float(wait), int(number), float(paused), float(born), float(cooling))

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over; None if it is void. Raises `BudgetUnavailable`."""
        told = await self._run("moved", key, budget, *_named(place))
        if not told:
            return None
        added = float(told[0])
        return replace(place, wait=added, paused=float(told[2]), cooling=added)

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out. Raises `BudgetUnavailable`."""
        await self._run("give_back", key, budget, *_named(place))

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`. Raises `BudgetUnavailable`."""
        await self._run("cool_down", key, budget, min(seconds, LONGEST_COOL_DOWN_S))

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past the bucket `born`. Raises `BudgetUnavailable`."""
        await self._run("settle", key, budget, cost, -1.0 if born is None else born)

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server. Raises `BudgetUnavailable`."""
        return await self._script.status()

    async def close(self) -> None:
        """Close the connections."""
        await self._script.close()

    async def _run(self, op: str, key: str, budget: Budget, *more: float) -> list[str]:
        interval = budget.interval_ms / 1000
        return await self._script.run(
            key, op, budget.tokens_per_second, float(budget.burst), interval, GRACE_S, *map(float, more)
        )


def _named(place: Place) -> tuple[float, float, float, float]:
    return place.cost, place.number, place.paused, place.born
