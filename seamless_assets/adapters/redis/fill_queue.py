"""Wanted fills in Redis, for all workers that share a hot store: `core.sharing.fills` as one Lua script."""

from __future__ import annotations

from collections.abc import Collection

from seamless_assets.adapters.redis.client import RedisScript
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing import fills
from seamless_assets.core.sharing.fills import LONGEST_HOLD_S, MAX_WANTED, WantedFill
from seamless_assets.errors import FillQueueUnavailable, InvalidInput

PREFIX = "fills:"
TIMEOUT_S = 5.0

_SCRIPT = """
local key, op, longest, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local wanted, count = {}, 0
local stored = redis.call('HGETALL', key)
for i = 1, #stored, 2 do
  local first, last, node = string.match(stored[i], '^(%-?%d+) (%-?%d+) (.+)$')
  local at, due, attempts = string.match(stored[i + 1], '^(%S+) (%S+) (%d+)$')
  at, due = tonumber(at), tonumber(due)
  if node and at and due and at == at and due == due then
    wanted[#wanted + 1] = {name = stored[i], first = tonumber(first), last = tonumber(last), node = node,
      exchange = string.match(node, '^[^:]*:([^:]*)'), at = at, due = due, attempts = tonumber(attempts)}
  else
    redis.call('HDEL', key, stored[i])
  end
end

local function keep(one)
  local text = string.format('%.17g %.17g %d', one.at, one.due, one.attempts)
  redis.call('HSET', key, one.name, text)
  redis.call('PEXPIRE', key, string.format('%d', 30 * 86400000))
end
local function wait(one)
  if now < one.due and one.due <= now + longest then return one.due - now end
  return 0
end
local function is_asked(one, from)
  for i = from, #ARGV do if ARGV[i] == one.exchange then return true end end
  return false
end

if op == 'count' then return {tostring(#wanted)} end
if op == 'take' or op == 'next' then
  local best
  for _, one in ipairs(wanted) do
    if is_asked(one, 5) then
      if op == 'next' then
        if not best or wait(one) < wait(best) then best = one end
      elseif wait(one) == 0 then
        local is_older = not best or one.at < best.at
        if not is_older and one.at == best.at then
          is_older = one.node < best.node or (one.node == best.node and one.first < best.first)
        end
        if is_older then best = one end
      end
    end
  end
  if not best then return {} end
  if op == 'next' then return {string.format('%.17g', wait(best))} end
  best.due, best.attempts = now + tonumber(ARGV[4]), best.attempts + 1
  keep(best)
  local numbers = {best.first, best.last, best.at, best.due, best.attempts}
  for i, number in ipairs(numbers) do numbers[i] = string.format('%.17g', number) end
  return {best.node, unpack(numbers)}
end

local name, hold = ARGV[4], tonumber(ARGV[5])
local first, last, node = string.match(name, '^(%-?%d+) (%-?%d+) (.+)$')
first, last = tonumber(first), tonumber(last)
local exact, is_covered
for _, one in ipairs(wanted) do
  if one.node == node then
    if one.name == name then exact = one end
    is_covered = is_covered or (one.first <= first and last <= one.last)
    if op == 'remove' and first <= one.first and one.last <= last then redis.call('HDEL', key, one.name) end
  end
end
if op == 'remove' then return {'ok'} end
if exact then
  exact.due = now + hold
  keep(exact)
elseif op == 'add' and not is_covered then
  if #wanted >= most then return {'full'} end
  keep({name = name, at = now, due = now + hold, attempts = 1})
end
return {'ok'}
"""


class RedisFillQueue:
    """A `FillQueue` that all workers of a cluster share who fill the hot store at `place`."""

    def __init__(self, url: str, place: str) -> None:
        self._script = RedisScript(
            url, _SCRIPT, PREFIX, "the queue of wanted fills", FillQueueUnavailable, TIMEOUT_S
        )
        self._key = PREFIX + place

    async def add(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Put it on record, held by the caller. Raises `FillQueueUnavailable`."""
        if (await self._run("add", _name(node, segment), hold_s)) == ["full"]:
            raise fills.full()

    async def take(self, exchanges: Collection[str], hold_s: float) -> WantedFill | None:
        """The oldest fill that nobody holds. Raises `FillQueueUnavailable`."""
        while answer := await self._run("take", hold_s, *sorted(exchanges)):
            node_id, start, end, wanted_at, due_at, attempts = answer
            try:
                node = NodeId.parse(node_id)
            except InvalidInput:
                # Written by somebody else; it is nobody's to fill.
                await self._run("remove", f"{start} {end} {node_id}", 0.0)
                continue
            segment = Segment(int(float(start)), int(float(end)))
            return WantedFill(node, *segment, float(wanted_at), float(due_at), int(float(attempts)))
        return None

    async def hold(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Hold on to it for so long from now. Raises `FillQueueUnavailable`."""
        await self._run("hold", _name(node, segment), hold_s)

    async def remove(self, node: NodeId, segment: Segment) -> None:
        """Take off the record what lies in a segment. Raises `FillQueueUnavailable`."""
        await self._run("remove", _name(node, segment), 0.0)

    async def next_due_in(self, exchanges: Collection[str]) -> float | None:
        """Seconds until a fill is anybody's. Raises `FillQueueUnavailable`."""
        answer = await self._run("next", 0.0, *sorted(exchanges))
        return float(answer[0]) if answer else None

    async def count(self) -> int:
        """How many fills are on record. Raises `FillQueueUnavailable`."""
        return int((await self._run("count", 0.0))[0])

    async def close(self) -> None:
        """Close the connections."""
        await self._script.close()

    async def _run(self, op: str, *arguments: str | float) -> list[str]:
        return await self._script.run(self._key, op, LONGEST_HOLD_S, float(MAX_WANTED), *arguments)


def _name(node: NodeId, segment: Segment) -> str:
    return f"{segment.start} {segment.end} {node}"
