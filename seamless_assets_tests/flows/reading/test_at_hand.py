"""Reads that wait for nothing: the same as reads that may, or none at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.reading.sla import PRESETS, UNBOUNDED, SLAPolicy
from seamless_assets.core.sharing.events import ReadEvent
from seamless_assets.errors import ReadRefused, SeamlessError
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.at_hand import read_at_hand
from seamless_assets.flows.reading.read import read
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryArtifactStore,
    InMemoryExchange,
    ManualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
LONG: dict[str, Any] = {"max_wait_storage_ms": 3_600_000, "total_deadline_ms": 3_600_000}
"""Budgets that no machine is too slow for."""
Outcome = ReadResult | SeamlessError
CONTEXTS: dict[str, dict[str, Any] | None] = {
    "no context": None,
    "a backtest": {"as_of": 0},
    "an older backtest": {"as_of": 1},
    "a backtest between two releases": {"as_of": "between"},
    "a backtest of the future": {"as_of": START + 99 * DAY},
    "a backtest of nothing": {"as_of": START},
    "a backtest of a dataset": {"fingerprint": 1},
    "a dry run": {"domain": "dryrun", "as_of": 0},
    "live": {"domain": "live"},
    "live, and too old": {"domain": "live", "max_lag": 1.0},
    "live of a release": {"domain": "live", "as_of": 1},
    "live of the future": {"domain": "live", "as_of": START + 99 * DAY},
}
WINDOWS: dict[str, dict[str, Any]] = {
    "a day": {"start": START, "end": START + DAY},
    "an hour": {"start": START + 7_260, "end": START + 10_860},
    "nothing": {"start": START + 60, "end": START + 60},
    "more than there is": {"start": START, "end": START + 2 * DAY},
    "before all": {"start": START - DAY, "end": START},
    "the last ten": {"limit": 10, "end": START + DAY},
    "an open end": {"start": START + DAY - 600},
    "filled": {"start": START, "end": START + 3_600, "fill": "previous_close"},
    "two columns": {"start": START, "end": START + 600, "columns": ("close", "ts")},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "past": {"default_sla": UNBOUNDED, "strategy": None},
    "fails fast": {"default_sla": replace(PRESETS["baseline"], **LONG), "strategy": "FAIL_FAST"},
    "seamless": {"default_sla": SLAPolicy(**LONG), "strategy": "SEAMLESS"},
    "a session": {"default_sla": UNBOUNDED, "strategy": "FAIL_FAST", "keeps_as_of": True},
}
ASKED = list(product(CONTEXTS, WINDOWS, SETTINGS))


async def near_ports() -> tuple[Ports, list[str]]:
    """A day that was released and corrected, in files that are near; the `as_of` of both releases."""
    series = {NODE: random_walk(START, START + DAY, skip=0.01)}
    exchange = InMemoryExchange(series=series, clock=ManualClock(START + 3 * DAY))
    ports = in_memory_ports(exchange, artifacts=InMemoryArtifactStore())
    for _ in range(2):
        first = min(series[NODE])
        opened, high, *others = series[NODE][first]
        series[NODE][first] = (opened, high + 1, *others)  # type: ignore[assignment]
        assert (await materialize(ports, NODE, Segment(START, START + DAY))).released
        exchange.clock.time += 3_600  # type: ignore[attr-defined]
    return ports, [release.as_of for release in await ports.artifacts.list_releases(NODE)]


async def request_of(ports: Ports, as_ofs: list[str], asked: tuple[str, str, str]) -> ReadRequest:
    context, window, settings = CONTEXTS[asked[0]], WINDOWS[asked[1]], SETTINGS[asked[2]]
    made: ComputeContext | None = None
    if context is not None:
        given: dict[str, Any] = dict(context)
        number = given.pop("fingerprint", None)
        if number is not None:
            release = (await ports.artifacts.list_releases(NODE))[number]
            given["dataset_fingerprint"] = release.dataset_fingerprint
        if given.get("as_of") in (0, 1):
            given["as_of"] = as_ofs[given["as_of"]]
        elif given.get("as_of") == "between":
            given["as_of"] = START + 3 * DAY + 1_800
        made = ComputeContext(**given)
    return ReadRequest.parse(NODE, context=made, **window, **settings)


async def waited_for(ports: Ports, request: ReadRequest) -> Outcome:
    try:
        return await read(ports, request)
    except SeamlessError as error:
        return error


def at_hand(ports: Ports, request: ReadRequest) -> Outcome | None:
    try:
        return read_at_hand(ports, request)
    except SeamlessError as error:
        return error


def facts(outcome: Outcome) -> Any:
    """All that a caller sees of it, but for the time that it took."""
    if not isinstance(outcome, ReadResult):
        return type(outcome), str(outcome), outcome.facts
    metadata = {item.name: getattr(outcome.metadata, item.name) for item in fields(outcome.metadata)}
    sla: Mapping[str, Any] = metadata.pop("sla")
    return outcome.bars.to_pydict(), outcome.bars.schema, metadata, sla["policy"], sla["violations"]


def told(ports: Ports) -> list[Any]:
    """What the observer heard of reads since it was last asked, but for the time they took."""
    events: list[Any] = ports.observer.events  # type: ignore[attr-defined]
    heard = [
        replace(one, phases=dict.fromkeys(one.phases)) if isinstance(one, ReadEvent) else one
        for one in events
    ]
    events.clear()
    return heard


async def test_a_read_that_waits_for_nothing_is_the_read_that_would_wait() -> None:
    """Every one of the table, asked twice before: same bars, metadata, refusal, events and session."""
    served, (ports, as_ofs) = set(), await near_ports()
    for asked in ASKED:
        request = await request_of(ports, as_ofs, asked)
        expected = [await waited_for(ports, request) for _ in range(2)][1]
        told(ports)
        again = await waited_for(ports, request)
        events, sessions = told(ports), dict(ports.sessions.records)  # type: ignore[attr-defined]
        assert facts(again) == facts(expected), asked
        found = at_hand(ports, request)
        heard = told(ports)
        assert ports.sessions.records == sessions, asked  # type: ignore[attr-defined]
        if found is None:
            assert heard == [], asked
            continue
        served.add(asked)
        assert (facts(found), heard) == (facts(expected), events), asked
    whole = {asked for asked in ASKED if asked[1] in ("a day", "an hour", "filled", "two columns")}
    fails_fast = {asked for asked in whole if asked[2] in ("fails fast", "a session")}
    bound = {asked for asked in whole if asked[0] in ("no context", "a backtest", "a backtest of a dataset")}
    assert served >= {asked for asked in bound if asked[2] == "past"} | {
        asked for asked in fails_fast if asked[0] in ("a backtest", "live", "live, and too old")
    }
    assert {("a backtest", "more than there is", "past")} <= served
    assert not [asked for asked in served if asked[0] == "live" and asked[2] == "seamless"]


@pytest.mark.parametrize("context", [None, ComputeContext(domain="live")], ids=["no context", "live"])
async def test_nothing_old_is_served(context: ComputeContext | None) -> None:
    """A release of another process, a record that is gone, and a verdict that changes are waited for."""
    ports, _ = await near_ports()
    request = ReadRequest.parse(
        NODE, START, START + DAY, context=context, strategy="FAIL_FAST", default_sla=UNBOUNDED
    )
    assert read_at_hand(ports, request) is None
    await read(ports, request)
    held = read_at_hand(ports, request)
    assert held is not None
    files = ports.artifacts.files  # type: ignore[attr-defined]
    elsewhere = replace(ports, artifacts=InMemoryArtifactStore(files))
    ports.source.series[NODE].clear()  # type: ignore[attr-defined]
    ports.source.series[NODE].update(random_walk(START, START + DAY, seed=9))  # type: ignore[attr-defined]
    await materialize(elsewhere, NODE, Segment(START, START + DAY))
    assert read_at_hand(ports, request) is None
    newer = await read(ports, request)
    assert newer.metadata.as_of > held.metadata.as_of  # type: ignore[operator]
    again = read_at_hand(ports, request)
    assert again is not None and facts(again) == facts(newer)
    files.is_away = True
    assert read_at_hand(ports, request) is None


async def test_who_traces_or_asks_a_world_service_waits() -> None:
    ports, _ = await near_ports()
    asked: dict[str, Any] = {"strategy": "FAIL_FAST", "default_sla": UNBOUNDED}
    live = ReadRequest.parse(NODE, START, START + DAY, context=ComputeContext(domain="live"), **asked)
    plain = ReadRequest.parse(NODE, START, START + DAY, default_sla=UNBOUNDED)
    for request in (live, plain):
        await read(ports, request)
        assert read_at_hand(ports, request) is not None
    decided: Any = object()
    assert read_at_hand(replace(ports, decisions=decided), live) is None
    assert read_at_hand(replace(ports, decisions=decided), plain) is not None
    assert read_at_hand(replace(ports, tracer=decided), plain) is None


async def test_a_budget_that_is_over_is_not_served_at_hand() -> None:
    ports, _ = await near_ports()
    sla = replace(UNBOUNDED, total_deadline_ms=10.0, max_wait_storage_ms=10.0)
    request = ReadRequest.parse(NODE, START, START + DAY, sla=sla, default_sla=UNBOUNDED)
    await read(ports, replace(request, sla=UNBOUNDED))
    ticks = iter(n * 0.006 for n in range(99))
    assert read_at_hand(ports, request, lambda: 0.0) is not None
    assert read_at_hand(ports, request, lambda: next(ticks)) is None


async def test_a_verdict_that_a_session_has_not_seen_yet_is_written_and_not_served_at_hand() -> None:
    ports, _ = await near_ports()
    context = ComputeContext(domain="live", world_id="w", max_lag=1.0)
    asked: dict[str, Any] = {"strategy": "FAIL_FAST", "default_sla": UNBOUNDED}
    request = ReadRequest.parse(NODE, START, START + DAY, context=context, **asked)
    calm = replace(request, context=replace(context, max_lag=1e9))
    for one, other in ((request, calm), (calm, request)):
        await read(ports, one)
        assert read_at_hand(ports, one) is not None
        told(ports)
        assert read_at_hand(ports, other) is None and told(ports) == []


async def test_a_refusal_that_a_session_has_not_seen_yet_is_left_too() -> None:
    ports, as_ofs = await near_ports()
    context = ComputeContext(world_id="w", as_of=as_ofs[-1])
    request = ReadRequest.parse(
        NODE, START, START + 9 * DAY, context=context, default_sla=UNBOUNDED, keeps_as_of=True
    )
    good = replace(request, end=START + DAY)
    await read(ports, good)
    told(ports)
    assert read_at_hand(ports, request) is None and told(ports) == []
    with pytest.raises(ReadRefused):
        await read(ports, request)
    told(ports)
    with pytest.raises(ReadRefused):
        read_at_hand(ports, request)
    assert [event.verdict for event in told(ports)] == ["REJECT"]
