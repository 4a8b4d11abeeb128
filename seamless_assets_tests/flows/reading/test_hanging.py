"""Whatever hangs, 200 of 200 reads return at their deadline, and what they wanted comes later."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import STRATEGIES, ComputeContext, Strategy
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import VIOLATIONS, SLAPolicy
from seamless_assets.core.sharing.events import UnrecordedVerdict
from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord
from seamless_assets.errors import SeamlessSLAExceeded, SessionStoreError
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryArtifactStore,
    InMemoryExchange,
    InMemoryFillQueue,
    InMemoryHotStore,
    InMemoryLeaseStore,
    InMemorySessionStore,
    VirtualClock,
    in_memory_ports,
    random_walk,
    run_on_virtual_time,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
NOW = START + DAY
READERS = 200
HANGS_S = 900.0
"""How long nothing answers; far beyond every deadline."""
DEADLINE_MS = 1_500.0
LIVE = ComputeContext(domain="live", max_lag=1e9)
FILLING = [strategy for strategy in STRATEGIES if strategy != "FAIL_FAST"]


class Hanging:
    """Another port, none of whose awaited answers comes before `until` on the loop's clock."""

    def __init__(self, port: Any, until: float) -> None:
        self._port, self._until = port, until

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def late(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(max(0.0, self._until - asyncio.get_running_loop().time()))
            return await found(*arguments, **named)

        return late


def opened(hanging: str) -> Ports:
    """A node of whose last day nothing is stored; one of its ports hangs."""
    clock = VirtualClock(NOW)
    exchange = InMemoryExchange(random_walk(START, NOW + 7_200), clock)
    parts: dict[str, Any] = {
        "source": exchange,
        "hot": InMemoryHotStore(),
        "artifacts": InMemoryArtifactStore(),
        "leases": InMemoryLeaseStore(clock),
        "fill_queue": InMemoryFillQueue(clock),
        "sessions": InMemorySessionStore(),
    }
    parts[hanging] = Hanging(parts[hanging], HANGS_S)
    source, sessions = parts.pop("source"), parts.pop("sessions")
    ports = in_memory_ports(exchange, clock=clock, **parts)
    starts = {str(NODE): START}
    return replace(ports, source=source, sessions=sessions, reading=ReadSettings(starts=starts))


def asking(number: int, strategy: Strategy, rng: Random) -> ReadRequest:
    """One of many reads: some want the newest bars, some a gap that is too large to wait for."""
    bars = rng.choice([1, 2, 5, 30, 600])
    sla = SLAPolicy(
        max_wait_storage_ms=rng.choice([300, 2_000]),
        max_wait_backfill_ms=rng.choice([700, 2_000]),
        max_wait_live_ms=rng.choice([500, 2_000]),
        total_deadline_ms=DEADLINE_MS,
        max_sync_gap_bars=5,
        on_violation=VIOLATIONS[number % 3],
    )
    end = NOW - 60 * rng.choice([0, 0, 120])
    return ReadRequest.parse(
        NODE, end - bars * 60, end, context=LIVE, strategy=strategy, sla=sla, default_sla=sla
    )


@pytest.mark.parametrize("hanging", ["hot", "artifacts", "source", "leases", "fill_queue", "sessions"])
def test_every_read_returns_at_its_deadline_and_its_fill_completes_later(hanging: str) -> None:
    async def main() -> None:
        ports, rng = opened(hanging), Random(hanging)
        loop = asyncio.get_running_loop()
        outcomes: Counter[str] = Counter()
        requests = [asking(number, rng.choice(FILLING), rng) for number in range(READERS)]

        async def reader(request: ReadRequest) -> None:
            # They come in the first ten minutes of the hang.
            await asyncio.sleep(rng.random() * 600)
            began = loop.time()
            try:
                outcome = (await read(ports, request)).metadata.verdict
            except SeamlessSLAExceeded:
                outcome = f"raised {request.sla.on_violation}"
            took_ms = (loop.time() - began) * 1000
            assert took_ms <= DEADLINE_MS + 1e-6, (hanging, request)
            outcomes[outcome] += 1

        await asyncio.gather(*(reader(request) for request in requests))
        assert sum(outcomes.values()) == READERS and loop.time() < HANGS_S
        assert not {"raised HOLD", "raised PARTIAL_FILL"} & outcomes.keys()
        # Then it answers again, and what the readers wanted is there without anybody asking anew.
        await asyncio.sleep(2 * HANGS_S)
        if hanging in ("hot", "artifacts", "sessions"):
            # Nobody could say what was missing, so nothing was wanted: the next reader wants it.
            for request in requests:
                await read(ports, replace(request, sla=replace(request.sla, on_violation="HOLD")))
            await asyncio.sleep(60)
        for request in requests:
            patient = replace(request, strategy="FAIL_FAST", sla=replace(request.sla, on_violation="HOLD"))
            result = await read(ports, patient)
            assert (result.metadata.verdict, result.metadata.sla["violations"]) == ("PASS", [])

    run_on_virtual_time(main)


class SlowToRemember(InMemorySessionStore):
    """Answers what it knows at once, and takes a change after everybody's deadline."""

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        await asyncio.sleep(5 * DEADLINE_MS / 1_000)
        return await super().update(key, change)


@pytest.mark.parametrize(
    ("on_violation", "verdict"), [("HOLD", "HOLD"), ("PARTIAL_FILL", "PARTIAL"), ("FAIL_FAST", "REJECT")]
)
@pytest.mark.parametrize("domain", ["live", "dryrun", "backtest"])
def test_the_last_verdict_on_record_is_the_one_that_was_served(
    domain: str, on_violation: str, verdict: str
) -> None:
    async def main() -> None:
        clock = VirtualClock(NOW)
        ports = in_memory_ports(InMemoryExchange(random_walk(START, NOW), clock), clock=clock)
        assert (await materialize(ports, NODE, Segment(START, NOW - 3_600))).released
        slow = replace(ports, sessions=SlowToRemember())
        sla = SLAPolicy(total_deadline_ms=DEADLINE_MS, on_violation=on_violation)  # type: ignore[arg-type]
        as_of = None if domain == "live" else (await ports.artifacts.list_releases(NODE))[-1].as_of
        lag = 1e9 if domain == "live" else None
        context = ComputeContext(domain=domain, as_of=as_of, max_lag=lag)  # type: ignore[arg-type]
        request = ReadRequest.parse(
            NODE,
            START,
            START + 3_600,
            context=context,
            strategy="FAIL_FAST",
            sla=sla,
            keeps_as_of=True,
            default_sla=sla,
        )
        served: tuple[str, tuple[str, ...]] = ("REJECT", ())
        try:
            metadata = (await read(slow, request)).metadata
            served = (metadata.verdict, metadata.reasons)
        except SeamlessSLAExceeded as refused:
            served = ("REJECT", (f"sla_exceeded: {refused}",))
        assert served[0] == verdict
        await asyncio.sleep(60)
        last = (await slow.sessions.load(SessionKey.of(context, str(NODE)))).verdicts[-1]
        assert (last.verdict, last.reasons) == served

    run_on_virtual_time(main)


class Failing(SlowToRemember):
    """Takes its time, and then cannot keep a change."""

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        await asyncio.sleep(5 * DEADLINE_MS / 1_000)
        raise SessionStoreError("the disk is full")


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("on_violation", VIOLATIONS)
def test_a_verdict_that_comes_too_late_and_is_lost_is_told(on_violation: str, is_cancelled: bool) -> None:
    async def main() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        clock = VirtualClock(NOW)
        ports = in_memory_ports(InMemoryExchange(random_walk(START, NOW), clock), clock=clock)
        failing = replace(ports, sessions=Failing())
        sla = SLAPolicy(total_deadline_ms=DEADLINE_MS, on_violation=on_violation)  # type: ignore[arg-type]
        request = ReadRequest.parse(
            NODE, START, START + 3_600, context=LIVE, strategy="FAIL_FAST", default_sla=sla
        )
        reading = asyncio.ensure_future(read(failing, request))
        await asyncio.sleep(DEADLINE_MS / 2_000)
        if is_cancelled:
            reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled() is is_cancelled
        if not is_cancelled:
            assert (reading.exception() is not None) is (on_violation == "FAIL_FAST")
        await asyncio.sleep(60)
        observer: Any = ports.observer
        told = [event for event in observer.events if isinstance(event, UnrecordedVerdict)]
        assert len(told) == (1 if is_cancelled else 2) and "the disk is full" in told[-1].reason
        gc.collect()
        assert complaints == []

    run_on_virtual_time(main)
