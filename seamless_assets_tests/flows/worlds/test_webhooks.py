"""Delivering messages on virtual time: in order, again until taken, nothing lost in an hour's outage."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from random import Random

import pytest

from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.sharing.events import WebhookEvent
from seamless_assets.core.worlds.session import SessionKey, observe
from seamless_assets.core.worlds.webhook import CLAIM_S, LONGEST_PAUSE_S, WebhookMessage
from seamless_assets.errors import SessionStoreError, WebhookUndelivered
from seamless_assets.flows.worlds.webhooks import POLL_S, WebhookDispatcher
from seamless_assets.testing import (
    InMemoryOutbox,
    InMemoryReceiver,
    InMemorySessionStore,
    RecordingObserver,
    VirtualClock,
    run_on_virtual_time,
)

NODE = "ohlcv:binance:BTC/USDT:1m"
HOUR = 3_600.0


class Machine:
    """The sessions of a machine, and processes on it that send."""

    def __init__(self, receiver: InMemoryReceiver) -> None:
        self.clock, self.observer = VirtualClock(), RecordingObserver()
        self.outbox = InMemoryOutbox()
        self.sessions, self.receiver = InMemorySessionStore(outbox=self.outbox), receiver
        self.states: dict[str, list[str]] = defaultdict(list)

    def process(self, name: str) -> WebhookDispatcher:
        return WebhookDispatcher(self.outbox, self.receiver, self.clock, Random(name), self.observer, name)

    async def change(self, world: str, verdict: str) -> None:
        now = self.clock.now()
        judged = Judgement(verdict, (f"because: {now}",))  # type: ignore[arg-type]
        before, after = await self.sessions.update(
            SessionKey(world, "live", NODE), lambda record: observe(record, judged, now, None, None)
        )
        if before.state != after.state:
            self.states[world].append(after.state)

    def received(self) -> dict[str, list[str]]:
        """What the receiver knows of each world, each message once."""
        known: dict[str, dict[str, str]] = defaultdict(dict)
        for message in self.receiver.received:
            known[message.world_id].setdefault(message.message_id, json.loads(message.body)["data"]["after"])
        return {world: list(states.values()) for world, states in known.items()}


def test_a_receiver_that_is_down_for_an_hour_loses_nothing_and_gets_all_in_order() -> None:
    async def work() -> None:
        machine = Machine(InMemoryReceiver(is_away=True))
        sending = [asyncio.create_task(machine.process(name).run()) for name in "abc"]
        rng = Random(1)
        end = machine.clock.now() + HOUR
        while machine.clock.now() < end:
            await machine.change(rng.choice(["w1", "w2", "w3"]), rng.choice(["PASS", "PARTIAL", "HOLD"]))
            await asyncio.sleep(rng.uniform(0, 60))
        assert not machine.receiver.received
        # Nobody hammers it meanwhile.
        assert machine.receiver.refused <= 3 * (HOUR / (LONGEST_PAUSE_S / 2) + 10)
        machine.receiver.is_away = False
        await asyncio.sleep(LONGEST_PAUSE_S + 2 * POLL_S)
        assert machine.received() == machine.states and await machine.outbox.count_pending() == 0
        assert sum(map(len, machine.states.values())) > 40
        sequences = defaultdict(list)
        for message in machine.receiver.received:
            sequences[message.world_id].append(message.sequence)
        for world, found in sequences.items():
            assert found == list(range(1, len(machine.states[world]) + 1))
        for task in sending:
            task.cancel()

    run_on_virtual_time(work)


def test_what_a_process_left_behind_is_sent_by_any_other_that_lives() -> None:
    async def work() -> None:
        machine = Machine(InMemoryReceiver())
        await machine.change("w1", "HOLD")
        living = asyncio.create_task(machine.process("other").run())
        await asyncio.sleep(1)
        assert machine.received() == {"w1": ["HOLD"]}
        await machine.change("w1", "PASS")
        await asyncio.sleep(POLL_S + 1)
        assert machine.received() == {"w1": ["HOLD", "ACTIVE"]}
        living.cancel()

    run_on_virtual_time(work)


class Dying(InMemoryReceiver):
    """Takes the first messages and never answers, as where their sender dies in the middle."""

    deaths = 3

    async def send(self, message: WebhookMessage, sent_at: int) -> None:
        await super().send(message, sent_at)
        if self.deaths:
            self.deaths -= 1
            await asyncio.Event().wait()


def test_a_sender_that_dies_after_it_was_heard_makes_no_gap_and_no_disorder() -> None:
    async def work() -> None:
        machine = Machine(Dying())
        for verdict in ("HOLD", "PASS", "PARTIAL", "PASS"):
            await machine.change("w1", verdict)
        for name in "abc":
            dying = asyncio.create_task(machine.process(name).run())
            await asyncio.sleep(CLAIM_S + 1)
            dying.cancel()
        living = asyncio.create_task(machine.process("d").run())
        await asyncio.sleep(CLAIM_S + POLL_S)
        assert machine.received() == machine.states
        # At least once: the same message came again, under the same id, before any later one.
        assert [message.sequence for message in machine.receiver.received] == [1, 1, 1, 1, 2, 3, 4]
        living.cancel()

    run_on_virtual_time(work)


def test_a_world_whose_messages_are_refused_stops_no_other() -> None:
    class Picky(InMemoryReceiver):
        async def send(self, message: WebhookMessage, sent_at: int) -> None:
            if message.world_id == "bad":
                raise WebhookUndelivered("it answers 400", retry_after=500.0)
            await super().send(message, sent_at)

    async def work() -> None:
        machine = Machine(Picky())
        living = asyncio.create_task(machine.process("a").run())
        await machine.change("bad", "HOLD")
        for number in range(10):
            await machine.change(f"good{number}", "HOLD")
        await asyncio.sleep(400)
        assert set(machine.received()) == {f"good{number}" for number in range(10)}
        failed = [event for event in machine.observer.events if not event.is_delivered]  # type: ignore[union-attr]
        assert [(event.world_id, event.attempts) for event in failed] == [("bad", 1)]  # type: ignore[union-attr]
        living.cancel()

    run_on_virtual_time(work)


@pytest.mark.parametrize("outage", [1.0, 30.0])
def test_an_outage_of_the_file_of_sessions_is_reported_and_waited_out(outage: float) -> None:
    async def work() -> None:
        machine = Machine(InMemoryReceiver())
        await machine.change("w1", "HOLD")
        claim = machine.outbox.claim
        until = machine.clock.now() + outage

        async def away(holder: str, now: float) -> WebhookMessage | None:
            if now < until:
                raise SessionStoreError("the file is away")
            return await claim(holder, now)

        machine.outbox.claim = away  # type: ignore[method-assign]
        living = asyncio.create_task(machine.process("a").run())
        await asyncio.sleep(outage + 2 * POLL_S)
        assert machine.received() == {"w1": ["HOLD"]}
        noted = [event for event in machine.observer.events if isinstance(event, WebhookEvent)]
        assert not noted[0].is_delivered and "away" in noted[0].reason and noted[-1].is_delivered
        living.cancel()

    run_on_virtual_time(work)
