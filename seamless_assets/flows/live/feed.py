"""One node's feed: the updates of its stream, judged, stored where they prove a bar final, and audited.

A feed holds a lease of its node, so that there is one in the cluster; others find in the hot store what it
proved, and one of them takes over where it crashed. What is stored is stored under the lease of its chunk, as
everything is, and only where no bar is: a stream corrects nothing. What a stream leaves out, and what a
connection that began may have missed, is asked for over REST; so are the newest bars again now and then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from math import inf

from seamless_assets.aio.shield import shielded
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.feed.finality import FinalCandle, FinalityJudge
from seamless_assets.core.live.feed.forming import FormingCandle
from seamless_assets.core.live.feed.update import CandleUpdate, Streamed
from seamless_assets.core.live.feed.waiting import WaitingUpdates
from seamless_assets.core.live.schedule import next_correction
from seamless_assets.core.live.sequence import rows_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import StreamEvent
from seamless_assets.core.sharing.lease import lease_key
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, SeamlessError
from seamless_assets.flows.filling.backfill import FillResult, Piece, pieces
from seamless_assets.flows.live.exchange_feed import (
    DOUBTED_CLOCK_AGE_S,
    ExchangeFeed,
    FeedListener,
    FeedQuota,
    with_lease_ttl,
)
from seamless_assets.flows.live.look import Look, look
from seamless_assets.flows.live.passing import is_passing
from seamless_assets.flows.ports import CandleStream, Ports
from seamless_assets.flows.sharing.leases import holding

LEASE_S = 60.0
"""How long a node's feed is left to a process that is gone."""
AUDIT_PAUSE_S = 180.0
"""After an audit the next one comes with the first bar that closes after so many seconds."""
AUDIT_JITTER_S = 30.0
AUDIT_RETRY_S = 5.0
SILENT_BARS = 2
"""Bars that the exchange has and of which its stream said nothing: then the feed begins anew.

At the exchange that subscribes again where no other node keeps the connection.
"""
CLOCK_ERROR_S = 0.5
"""A mark that comes so little before the exchange's clock has closed its bar waits for that: by how long an
answer took the clock is known to be slow.
"""
LATE_BARS = 5
"""A bar of which so many later ones have closed may have been corrected since, and no audit will look so far
back when it comes: it is asked for.
"""
LAST_STORING_S = 2.0
"""So long a feed that ends tries to store what it has told."""
MAX_HEARD = 1_000
"""Updates that wait to be judged; with more the subscription ends, and begins anew."""
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a stream is followed again: the next one for each time in a row that nothing came by it."""


class NodeFeed:
    """Follows the stream of `node` for a listener. `quota` is that of all feeds of this process."""

    def __init__(
        self,
        ports: Ports,
        stream: CandleStream,
        shared: ExchangeFeed,
        node: NodeId,
        quota: FeedQuota,
        listener: FeedListener,
    ) -> None:
        self._listener = listener
        self._node, self._frame = node, node.timeframe
        self._stream, self._shared = stream, shared
        self._ports = with_lease_ttl(ports, ports.policy.live_lease_ttl_ms)
        self._storing = replace(self._ports, quota=shared.storing)
        self._owning = replace(with_lease_ttl(ports, LEASE_S * 1000), quota=quota)
        self._judge = FinalityJudge(self._frame)
        self.forming = FormingCandle(self._frame)
        """What its stream tells of the bar that is open."""
        self._woken = asyncio.Event()
        self._heard = WaitingUpdates(self._frame, CLOCK_ERROR_S)
        self._heard_at = 0.0
        self._audit_at = 0.0
        self._stored: FinalCandle | None = None
        """The newest bar that came by the stream."""
        self._there_until = 0
        """The end of the newest bar that is known to be stored, whoever did it."""
        self._proven: list[FinalCandle] = []
        """Bars that are to be stored."""
        self._is_told = self._is_held = False
        """Whether those were told, and are not to be stored yet."""
        self.is_following = self._is_waiting = False
        """Whether its stream is followed, and nothing is done at the moment about what came of it."""
        self._failures = 0

    async def run(self) -> None:
        """Follow until cancelled; end where the exchange refuses the node for good, which is polled then."""
        self._shared.woken.append(self._woken)
        try:
            while True:
                await self._ports.clock.sleep(self._shared.cools_for)
                try:
                    async with holding(self._owning, f"{self._node}#feed"):
                        await self._follow()
                except ExchangeRefused as error:
                    self._shared.fault(self._ports, "refused", str(error))
                    if not is_passing(error):
                        return
                except ExchangeUnavailable as error:
                    self._shared.fault(self._ports, "disconnected", str(error))
                except SeamlessError as error:
                    self._pass_over(error)
                pause = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
                self._failures += 1
                await self._ports.clock.sleep(pause * (0.5 + self._ports.rng.random()))
        finally:
            self._shared.woken.remove(self._woken)

    async def _follow(self) -> None:
        """Follow one subscription: while it lasts, is not silent, and its exchange's stream is stable."""
        self._heard.clear()
        self._proven, self._is_told, self._is_held = [], False, False
        self._heard_at = await self._shared.now(self._ports)
        self._plan_audit(self._heard_at)
        pump = asyncio.create_task(self._pump())
        pump.add_done_callback(lambda _: self._woken.set())
        self.is_following = True
        try:
            async with self._shared.heeding_closes(self._ports, self._frame):
                await self._heed(pump)
        finally:
            self.is_following = False
            self._judge.end_connection()
            self.forming.forget()
            pump.cancel()
            try:
                await shielded(asyncio.ensure_future(asyncio.wait({pump})))
            finally:
                try:
                    await self._store_last()
                finally:
                    # Who waits for the stream asks by itself from now on.
                    self._listener.on_bars(None)

    async def _heed(self, pump: asyncio.Task[None]) -> None:
        while not self._shared.cools_for:
            await self._wait()
            is_silent = await self._work()
            if pump.done():
                pump.result()
            if pump.done() or is_silent:
                break

    async def _pump(self) -> None:
        made_of = await self._stream.streamed(self._node.exchange) or "candles"
        judge = partial(self._judge_at_once, made_of)
        async with aclosing(self._stream.updates(self._node, judge)) as updates:
            async for update in updates:
                if len(self._heard) >= MAX_HEARD:
                    reason = f"{self._node}: {MAX_HEARD} updates wait to be judged; its stream is begun anew"
                    raise ExchangeUnavailable(reason, status=None)
                self._show(update, made_of)
                self._heard.append(update, monotonic())
                self._woken.set()

    def _show(self, update: CandleUpdate, made_of: Streamed) -> None:
        """Let be seen what forms."""
        # No update waits for the clock to be asked again: it was when this subscription began.
        if (now := self._shared.reckoned_now(inf)) is not None:
            self.forming.hear(update, now, made_of)
        self._listener.on_update()

    async def _wait(self) -> None:
        """Wait for updates, for a proof that needs no more of them, and for the next audit."""
        now = await self._shared.now(self._ports)
        until = min(filter(None, (self._audit_at, self._judge.next_at(), self._heard.held_until)))
        if until > now:
            self._is_waiting = True
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(until - now):
                        await self._woken.wait()
            finally:
                self._is_waiting = False
        self._woken.clear()

    def _judge_at_once(self, made_of: Streamed, update: CandleUpdate) -> bool:
        """Judge an update as it comes, tell what it proves, and show it; whether that was possible.

        It is not while anything else is done, and where the exchange's clock is to be asked.
        """
        now = self._shared.reckoned_now()
        if now is None or self._heard or not self._is_waiting:
            return False
        ahead = update.ahead_of(now, self._frame)
        if ahead > self._shared.slack:
            return False
        now += max(0.0, ahead)
        self._judge_next(update, now)
        go_on = partial(self._go_on, update, made_of)
        self._proven += (final := self._judge.final(now))
        if not final or self._judge.has_findings or not self._tell_ahead(now, go_on):
            go_on()
        return True

    def _go_on(self, update: CandleUpdate, made_of: Streamed) -> None:
        """Do all else that an update asks for that was judged."""
        if not self.is_following:
            return
        must_work = bool(self._proven) and not self._is_held
        if must_work or self._judge.has_findings or self._judge.next_at() is not None:
            self._woken.set()
        self._show(update, made_of)

    async def _work(self) -> bool:
        """Judge what was heard, store what that proves, ask for what it leaves open.

        Whether the exchange has bars of which the stream said nothing.
        """
        now = await self._shared.now(self._ports)
        if max((one.ahead_of(now, self._frame) for one in self._heard), default=0.0) > self._shared.slack:
            now = await self._shared.now(self._ports, DOUBTED_CLOCK_AGE_S)
        ahead = (one.ahead_of(now, self._frame) for one in self._heard)
        now += max([0.0, *(by for by in ahead if by <= self._shared.slack)])
        self._hear(now)
        for fault in self._judge.take_faults():
            self._shared.fault(self._ports, fault, str(self._node))
        wants_audit, doubts = self._judge.take_audit(), self._judge.take_doubts()
        wants_audit = wants_audit or now >= self._audit_at
        try:
            self._proven += self._judge.final(now)
            if not (wants_audit or doubts):
                self._tell_ahead(now)
            if wants_audit or doubts or not self._is_held:
                wants_audit |= await self._store_proven(now)
            for doubt in doubts:
                await self._look(doubt, now)
            return await self._audit(now) if wants_audit else False
        except SeamlessError as error:
            # What was not stored is asked for over REST by whoever follows the node.
            self._pass_over(error)
            self._audit_at = min(self._audit_at, now + AUDIT_RETRY_S)
            return False

    def _hear(self, now: float) -> None:
        """Let what came be judged, up to a mark that waits for the clock."""
        for update, at in self._heard.due(now, monotonic()):
            self._judge_next(update, at)

    def _judge_next(self, update: CandleUpdate, now: float) -> None:
        self._judge.hear(update, now)
        self._heard_at, self._failures = now, 0
        self._shared.streams(self._ports)

    def _pass_over(self, error: SeamlessError) -> None:
        if not is_passing(error):
            raise error
        self._ports.observer.notify(
            StreamEvent("fault", self._node.exchange, "not_stored", str(self._node), reason=str(error))
        )

    def _tell_ahead(self, now: float, then: Callable[[], None] = lambda: None) -> bool:
        """Whether it was told now of one bar that follows the last stored one; two are stored at once.

        `then` is called once who was told has it.
        """
        self._is_held = self._is_held and len(self._proven) == 1
        may_tell = self._node.exchange in self._ports.policy.told_when_proven
        if not may_tell or self._is_told or len(self._proven) != 1:
            return False
        (candle,) = self._proven
        is_next = candle.ts == self._there_until and candle.end == self._closed(now)
        if not is_next or self._is_dropped(candle) or not self._listener.on_proven(candle):
            return False
        self._is_told = self._is_held = True
        self._shared.told.hold(self._release, then)
        return True

    def _release(self) -> None:
        """Store what was told."""
        self._is_held = False
        self._woken.set()

    async def _store_proven(self, now: float) -> bool:
        """Store what was proven; to its end where it was told, also where the feed ends meanwhile."""
        candles, is_told = self._proven, self._is_told
        self._proven, self._is_told, self._is_held = [], False, False
        if not is_told:
            return await self._store(candles, now)
        storing = asyncio.create_task(self._store(candles, now))
        try:
            return await asyncio.shield(storing)
        except asyncio.CancelledError:
            await shielded(asyncio.ensure_future(self._end_storing(storing)))
            raise

    async def _store_last(self) -> None:
        """Store what was told and waits, as the feed ends."""
        self._shared.told.leave(self._release)
        if self._is_told:
            told, now = self._proven, await self._shared.now(self._ports, inf)
            self._proven, self._is_told, self._is_held = [], False, False
            storing = asyncio.create_task(self._store(told, now))
            await shielded(asyncio.ensure_future(self._end_storing(storing)))

    async def _end_storing(self, storing: asyncio.Task[bool]) -> None:
        """Wait for it for a while. Where it fails, whoever resumes finds the bar in the cursor."""
        await asyncio.wait({storing}, timeout=LAST_STORING_S)
        storing.cancel()
        (outcome,) = await asyncio.gather(storing, return_exceptions=True)
        if isinstance(outcome, SeamlessError):
            self._pass_over(outcome)
        elif isinstance(outcome, Exception):
            raise outcome

    async def _store(self, candles: Sequence[FinalCandle], now: float) -> bool:
        """Store bars where none are; whether others are there.

        A bar after a hole is asked for together with the hole, so that it never stands without what the
        exchange has to say of that.
        """
        kept = [candle for candle in candles if not self._is_dropped(candle)]
        late = [
            one for one in kept if self._frame.count(one.end, max(one.end, self._closed(now))) > LATE_BARS
        ]
        if late:
            await self._look(Segment(late[0].ts, late[-1].end), now)
            kept = kept[len(late) :]
        if not kept:
            return False
        self._shared.told.go_on()
        window = Segment(self._frame.shift(kept[0].ts, -1), kept[-1].end)
        there = await self._opens_before(kept[0], window)
        adjoining = []
        for candle in kept:
            if self._frame.shift(candle.ts, -1) in there:
                there.add(candle.ts)
                adjoining.append(candle)
        is_contradicted = False
        if adjoining:
            for piece in pieces(self._ports, self._node, Segment(adjoining[0].ts, adjoining[-1].end)):
                inside = [one for one in adjoining if piece.bounds.start <= one.ts < piece.bounds.end]
                is_contradicted |= await self._store_in(piece, inside)
        if len(adjoining) < len(kept):
            await self._look(window, now)
        return is_contradicted

    async def _opens_before(self, first: FinalCandle, window: Segment) -> set[int]:
        """Opens of the bars of a window that are known, or just the one before `first` where that is all."""
        if self._there_until == first.ts:
            return {window.start}
        return {int(ts) for ts in await self._ports.hot.load_opens(self._node, window)}

    async def _store_in(self, piece: Piece, candles: Sequence[FinalCandle]) -> bool:
        ports, node = self._storing, self._node
        async with holding(ports, lease_key(node, piece.chunk)) as lease:
            there = rows_of(await ports.hot.load_bars(node, piece.bounds))
            fresh = [one for one in candles if one.ts not in there]
            if fresh:
                bars = table_of([(one.ts, *one.values) for one in fresh], BARS_SCHEMA)
                at = ports.clock.now()
                await lease.fenced(
                    piece.chunk,
                    lambda fence: ports.hot.write_bars(node, bars, (), recorded_at=at, fence=fence),
                )
            # Nobody waits for the lease to be given back, and what is stored counts whatever comes of that.
            self._there_until = max(self._there_until, candles[-1].end)
            self._tell_stored(fresh)
        return any(there.get(one.ts, one.values) != one.values for one in candles)

    def _tell_stored(self, fresh: Sequence[FinalCandle]) -> None:
        self._shared.told.go_on()
        self._stored = fresh[-1] if fresh else self._stored
        for proof, count in Counter(one.proof for one in fresh).items():
            bars = StreamEvent("bars", self._node.exchange, proof, str(self._node), count)
            self._ports.observer.notify(bars)
        stored = Segment(fresh[0].ts, fresh[-1].end) if fresh else None
        is_whole = stored is not None and self._frame.count(*stored) == len(fresh)
        self._listener.on_bars(stored if is_whole else None)

    def _is_dropped(self, candle: FinalCandle) -> bool:
        """Whether the settings take it for proof that nobody traded; REST tells that, too."""
        return candle.is_flat and self._node.exchange in self._ports.policy.drops_flat_bars

    async def _look(self, doubt: Segment, now: float) -> None:
        """Ask for what is missing of a range, as far as it has closed."""
        closed = self._closed(now)
        window = Segment(doubt.start, max(doubt.start, min(doubt.end, closed)))
        if not window.is_empty:
            wanted = Look(self._node, window, closed, self._ports.clock.now())
            if any(one.added for one in await self._found(wanted)):
                self._listener.on_bars(None)

    async def _found(self, wanted: Look) -> list[FillResult]:
        """What a look found; the newest of those bars are there."""
        found = await look(self._ports, wanted)
        ends = (self._frame.shift(int(one.opens.max()), 1) for one in found if len(one.opens))
        self._there_until = max([self._there_until, *ends])
        return found

    async def _audit(self, now: float) -> bool:
        """Ask for the newest bars again; whether there are some of which nothing was heard."""
        self._plan_audit(now)
        closed = self._closed(now)
        newest = Look(self._node, Segment(closed, closed), closed, self._ports.clock.now(), again=True)
        found = await self._found(newest)
        if any(one.away for one in found):
            self._audit_at = now + AUDIT_RETRY_S
        if any(one.added or one.revised for one in found):
            self._listener.on_bars(None)
        await self._compare(closed)
        unheard = min(closed, self._frame.ceil(int(self._heard_at) + 1))
        opens = await self._ports.hot.load_opens(self._node, Segment(unheard, closed))
        if len(opens) < SILENT_BARS:
            return False
        self._shared.fault(self._ports, "silent", f"{self._node}: nothing was heard of its newest bars")
        return True

    async def _compare(self, closed: int) -> None:
        """Hold the newest bar against REST; what is older may have been corrected since."""
        told = self._stored
        if told is None or told.end != closed:
            return
        known = rows_of(await self._ports.hot.load_bars(self._node, Segment(told.ts, told.end)))
        if known.get(told.ts, told.values) != told.values:
            reason = f"{self._node}: REST has another bar at {seconds_text(told.ts)}"
            self._shared.fault(self._ports, "contradicted", reason)

    def _plan_audit(self, now: float) -> None:
        after = now + AUDIT_PAUSE_S
        luck = self._ports.rng.random() * AUDIT_JITTER_S
        self._audit_at = next_correction(self._frame, self._closed(after), after) + luck

    def _closed(self, now: float) -> int:
        return self._frame.floor(int(now))
