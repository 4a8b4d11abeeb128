"""The rate budget of a cluster: `core.token_bucket` as one atomic Lua script, on the server's clock."""

from __future__ import annotations

from dataclasses import replace

from seamless_assets.adapters.redis.client import RedisScript
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S, Budget, Place
from seamless_assets.errors import BudgetUnavailable

PREFIX = "rl:"
TIMEOUT_S = 1.0
GRACE_S = 2.0
"""How long a server that has just started admits nobody: by then, all who did without it are back."""

_SCRIPT = """
local key, op = KEYS[1], ARGV[1]
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local interval, grace, longest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function text(number) return string.format('%.17g', number) end
local function is_finite(number) return number == number and math.abs(number) ~= math.huge end

local info = redis.call('INFO', 'server')
local run = string.match(info, 'run_id:(%w+)')
local uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
local names = {'tokens', 'at', 'born', 'queued', 'cool_until', 'paused', 'refilled', 'spare', 'heaviest'}
local state = redis.call('HMGET', key, 'free', 'run', unpack(names))
local is_known, can_be = state[2] == run, true
local b, free = {}, {}
for i, name in ipairs(names) do
  b[name] = tonumber(state[i + 2] or 0) or 0 / 0
  can_be = can_be and is_finite(b[name])
end
for turn, tokens in string.gmatch(state[1] or '', '(%S+) (%S+)') do
  free[#free + 1] = {tonumber(turn), tonumber(tokens)}
  can_be = can_be and #free[#free] == 2
end
can_be = can_be and b.tokens >= -(longest * rate + burst) and b.spare >= 0

local function passed()
  local come, left = 0, {}
  for _, turn in ipairs(free) do
    if turn[1] <= b.refilled then come = come + turn[2] else left[#left + 1] = turn end
  end
  b.spare, free = math.min(b.spare + come, math.max(0, burst - b.heaviest)), left
  if b.tokens >= 0 then b.tokens, b.spare, free = math.min(burst, b.tokens + b.spare), 0, {} end
end

if not (is_known and can_be) then
  -- What was admitted just before a restart may be forgotten, so the bucket starts empty.
  local cool_until = can_be and math.min(b.cool_until, now + longest) or 0
  for _, name in ipairs(names) do b[name] = 0 end
  b.at, b.born, b.cool_until, free = now, now, math.max(cool_until, now + grace - uptime), {}
  if not state[2] and can_be and uptime > interval then b.tokens = burst end
  is_known = false
end
b.cool_until = math.min(b.cool_until, b.at + longest)
if now < b.at then
  b.cool_until = b.cool_until - (b.at - now)
else
  local cooled = math.min(now, math.max(b.at, b.cool_until)) - b.at
  local refill = (now - b.at - cooled) * rate
  b.tokens, b.refilled = math.min(burst, b.tokens + refill), b.refilled + refill
  passed()
end
b.at = now

local function turn_of(need, is_heavy)
  if not is_heavy and b.spare >= need then
    b.spare = b.spare - need
    return b.refilled
  end
  for at, turn in ipairs(free) do
    if not is_heavy and turn[2] >= need then
      if turn[2] > need then free[at] = {turn[1], turn[2] - need} else table.remove(free, at) end
      return turn[1]
    end
  end
  local turn = b.refilled + math.max(0, need - b.tokens)
  b.tokens = b.tokens - need
  return turn
end

local function give_back(cost, turn)
  local left, is_first = cost, true
  for _ = 1, 1000 do
    if left <= 0 then break end
    local tokens = math.min(left, burst)
    if not is_first then turn = turn + tokens end
    free[#free + 1] = {turn, tokens}
    left, is_first = left - tokens, false
  end
  table.sort(free, function(a, c) return a[1] < c[1] or (a[1] == c[1] and a[2] < c[2]) end)
  while #free > 0 and free[#free][1] >= b.refilled - b.tokens - 1e-6 do
    b.tokens = b.tokens + table.remove(free)[2]
  end
  while #free > 1000 do table.remove(free) end
  passed()
end

if op == 'left' then
  if not state[2] then return {} end
  return {text(b.cool_until <= now and math.max(0, b.tokens) + b.spare or 0)}
end
local wait, cooling, turn = 0, 0, 0
if op == 'take' then
  local cost = tonumber(ARGV[7])
  local need = math.min(cost, burst)
  b.heaviest = b.tokens >= 0 and need or math.max(b.heaviest, need)
  turn = turn_of(need, need < cost)
  b.tokens, b.queued = b.tokens - (cost - need), b.queued + 1
  cooling = math.max(0, b.cool_until - now)
  wait = (turn - b.refilled) / rate + cooling
elseif op == 'cool_down' then
  local begun = math.max(b.cool_until, now)
  b.cool_until = math.max(b.cool_until, now + tonumber(ARGV[7]))
  b.paused = b.paused + b.cool_until - begun
elseif op == 'settle' then
  local cost, known_as = tonumber(ARGV[7]), tonumber(ARGV[8])
  if known_as < 0 or known_as == b.born then
    local pause = math.min(cost, burst) / rate
    if b.tokens >= 0 then
      b.tokens = math.max(0, b.tokens - cost)
    else
      b.cool_until, b.paused, b.spare = math.max(b.cool_until, now) + pause, b.paused + pause, 0
    end
  end
else
  local cost, paused, born, its_turn = unpack(ARGV, 7)
  if not is_known or tonumber(born) ~= b.born then return {} end
  if op == 'moved' then
    local added = text(math.max(0, b.paused - tonumber(paused)))
    return {added, text(b.queued), text(b.paused), text(b.born), added, text(now), its_turn}
  end
  give_back(tonumber(cost), tonumber(its_turn))
end

local gaps = {}
for _, one in ipairs(free) do gaps[#gaps + 1] = text(one[1]) .. ' ' .. text(one[2]) end
local fields = {'free', table.concat(gaps, ' '), 'run', run}
for _, name in ipairs(names) do fields[#fields + 1], fields[#fields + 2] = name, text(b[name]) end
redis.call('HSET', key, unpack(fields))
local idle = (burst - b.tokens) / rate + math.max(0, b.cool_until - now) + 2 * interval + 60
redis.call('PEXPIRE', key, string.format('%d', idle * 1000))
return {text(wait), text(b.queued), text(b.paused), text(b.born), text(cooling), text(now), text(turn)}
"""


class RedisBudget:
    """A `BudgetStore` that all workers of a cluster share."""

    def __init__(self, url: str) -> None:
        self._script = RedisScript(url, _SCRIPT, PREFIX, "the rate budget", BudgetUnavailable, TIMEOUT_S)

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`. Raises `BudgetUnavailable`."""
        reply = await self._run("take", key, budget, cost)
        wait, number, paused, born, cooling, _, turn = map(float, reply)
        return Place(cost, wait, int(number), paused, born, cooling, turn)

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over; None if it is void. Raises `BudgetUnavailable`."""
        reply = await self._run("moved", key, budget, *_named(place))
        if not reply:
            return None
        added = float(reply[0])
        return replace(place, wait=added, paused=float(reply[2]), cooling=added)

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out. Raises `BudgetUnavailable`."""
        await self._run("give_back", key, budget, *_named(place))

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`. Raises `BudgetUnavailable`."""
        await self._run("cool_down", key, budget, min(seconds, LONGEST_COOL_DOWN_S))

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past the bucket `born`. Raises `BudgetUnavailable`."""
        await self._run("settle", key, budget, cost, -1.0 if born is None else born)

    async def left(self, key: str, budget: Budget) -> float | None:
        """The tokens that are free; None where nobody asked for one yet. Raises `BudgetUnavailable`."""
        answer = await self._run("left", key, budget)
        return float(answer[0]) if answer else None

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server. Raises `BudgetUnavailable`."""
        return await self._script.status()

    async def close(self) -> None:
        """Close the connections."""
        await self._script.close()

    async def _run(self, op: str, key: str, budget: Budget, *more: float) -> list[str]:
        interval = budget.interval_ms / 1000
        return await self._script.run(
            key,
            op,
            budget.tokens_per_second,
            float(budget.burst),
            interval,
            GRACE_S,
            LONGEST_COOL_DOWN_S,
            *map(float, more),
            # Run twice, it would make room for more than was given back.
            is_repeatable=op != "give_back",
        )


def _named(place: Place) -> tuple[float, float, float, float]:
    return place.cost, place.paused, place.born, place.turn
