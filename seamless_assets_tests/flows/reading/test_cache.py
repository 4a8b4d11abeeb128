"""The cache of reads against a model of it, and what must never meet in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.cache import GAP_BYTES, CacheKey, ReadCache
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.gathered import Gathered, nothing_gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.sla import UNBOUNDED
from seamless_assets.core.releases.release import Release
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.at_hand import read_at_hand
from seamless_assets.flows.reading.read import read
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryArtifactStore,
    InMemoryExchange,
    InMemorySessionStore,
    ManualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
FRAME = nothing_gathered(NODE, Segment(0, 60))
TEXTS = st.sampled_from(["", "a", "b", "a:b", ":", "1#a", "{start}", "ohlcv:x:A/B:1m"])
KEYS = st.builds(
    CacheKey,
    node_id=TEXTS,
    start=st.integers(0, 3),
    end=st.integers(0, 3),
    interval=st.sampled_from([60, "1M"]),
    conformance_version=st.sampled_from(["v2", "v3"]),
    world_id=TEXTS,
    domain=st.sampled_from(["backtest", "dryrun", "live"]),
    as_of=TEXTS,
    dataset_fingerprint=st.sampled_from(["sha256:a", "sha256:b"]),
)
TEMPLATES = st.sampled_from(
    [
        "{node_id}:{start}:{end}:{interval}:{conf_ver}:{world_id}:{as_of}",
        "{world_id}{as_of}{node_id}{start}{end}{interval}{conf_ver}{domain}",
        "{node_id}/{start}-{end}/{interval}{conf_ver}/{world_id}@{as_of}+{dataset_fingerprint}",
    ]
)


@given(KEYS, KEYS, TEMPLATES)
def test_two_keys_have_one_text_only_where_they_are_equal(
    one: CacheKey, other: CacheKey, template: str
) -> None:
    assert (one.text(template) == other.text(template)) is (one == other)


STEPS = st.lists(st.tuples(st.sampled_from(["keep", "load", "wait"]), KEYS), max_size=40)


@given(STEPS, st.integers(1, 5), TEMPLATES)
def test_a_hit_is_what_was_kept_under_that_key_since_the_world_entered_its_domain(
    steps: list[tuple[str, CacheKey]], most: int, template: str
) -> None:
    now = [0.0]
    cache = ReadCache(lambda: now[0], 60.0, most, template)
    model: dict[CacheKey, tuple[Gathered, float]] = {}
    for number, (what, key) in enumerate(steps):
        if what == "wait":
            now[0] += 25.0
            continue
        model = {k: v for k, v in model.items() if k.world_id != key.world_id or k.domain == key.domain}
        if what == "keep":
            frame = replace(FRAME, flags={"number": number}, source="artifacts")
            cache.keep(key, frame)
            model[key] = (frame, now[0])
            continue
        found, expected = cache.load(key), model.get(key)
        is_young = expected is not None and now[0] - expected[1] < 60.0
        # What is kept may be forgotten for want of room, and is never anything else.
        assert found is None or (is_young and expected is not None and found is expected[0])
        assert len(cache) <= most


@given(st.integers(1, 4), st.integers(0, 6))
def test_a_switch_of_domains_is_seen_however_many_worlds_read_in_between(most: int, others: int) -> None:
    cache = ReadCache(lambda: 0.0, 60.0, most)

    def key(world: str, domain: str) -> CacheKey:
        return CacheKey("n", 0, 9, 60, "v2", world, domain, "t", "sha256:a")

    def read_others() -> None:
        for number in range(others):
            assert cache.load(key(f"w{number}", "live")) is None

    frame = replace(FRAME, source="artifacts")
    cache.keep(key("w", "backtest"), frame)
    read_others()
    assert cache.load(key("w", "live")) is None
    read_others()
    assert cache.load(key("w", "backtest")) is None
    cache.keep(key("w", "backtest"), frame)
    assert cache.load(key("w", "backtest")) is frame and len(cache) == 1


def test_what_is_not_released_is_not_kept_and_room_is_made_by_the_least_used() -> None:
    cache = ReadCache(lambda: 0.0, 60.0, 2)
    keys = [CacheKey("n", start, 9, 60, "v2", "w", "live", "t", "sha256:a") for start in range(3)]
    cache.keep(keys[0], replace(FRAME, source="blended"))
    assert cache.load(keys[0]) is None
    for key in keys[:2]:
        cache.keep(key, replace(FRAME, source="artifacts"))
    assert cache.load(keys[0]) is not None
    cache.keep(keys[2], replace(FRAME, source="artifacts"))
    assert [cache.load(key) is not None for key in keys] == [True, False, True]


def test_frames_are_held_as_far_as_there_is_room_for_what_they_keep_from_being_freed() -> None:
    """A few bars that are cut from a large block keep all of it."""
    block = table_of([(60 * n, 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(1000)], BARS_SCHEMA)
    frames = [replace(FRAME, source="artifacts", bars=block.slice(n, 1)) for n in range(3)]
    keys = [CacheKey("n", start, 9, 60, "v2", "w", "live", "t", "sha256:a") for start in range(3)]
    size = block.get_total_buffer_size() + GAP_BYTES
    for room, held in ((size - 1, []), (size, [2]), (2 * size, [1, 2]), (9 * size, [0, 1, 2])):
        cache = ReadCache(lambda: 0.0, 60.0, 8, max_bytes=room)
        for key, frame in zip(keys, frames, strict=True):
            cache.keep(key, frame)
            cache.keep(key, frame)
        assert [n for n, key in enumerate(keys) if cache.load(key) is frames[n]] == held


READS = st.lists(
    st.tuples(
        st.sampled_from(["w1", "w2", "default"]),
        st.sampled_from(["backtest", "dryrun", "live", None]),
        st.integers(0, 2),
        st.sampled_from(["as_of", "fingerprint", "both"]),
        st.sampled_from([None, ("ts", "close"), ("volume",), ("close", "ts")]),
        st.sampled_from([(0, 60), (0, 30), (30, 60), (10, 20)]),
        st.sampled_from(["BTC/USDT", "ETH/USDT"]),
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=25)
@given(READS, st.integers(1, 4))
def test_no_read_is_served_what_another_world_domain_release_node_or_window_was(
    reads: list[tuple[Any, ...]], most: int
) -> None:
    """Whatever was read before, a read is what it would be alone."""
    released, releases = released_thrice()

    async def check() -> None:
        ports = replace(released, sessions=InMemorySessionStore())
        kept = replace(ports, frames=ReadCache(lambda: 0.0, 60.0, most))
        for read_of in reads:
            alone = replace(ports, frames=ReadCache(lambda: 0.0, 60.0, 1))
            request = request_of(read_of, releases)
            at_hand = read_at_hand(kept, request)
            found, expected = at_hand or await read(kept, request), await read(alone, request)
            assert found.bars.equals(expected.bars) and found.bars.schema == expected.bars.schema
            for name in (
                "as_of",
                "dataset_fingerprint",
                "world_id",
                "domain",
                "node_id",
                "start",
                "end",
                "rows",
            ):
                assert getattr(found.metadata, name) == getattr(expected.metadata, name), name
            assert found.metadata.gaps == expected.metadata.gaps
            assert found.metadata.manifest_uris == expected.metadata.manifest_uris
            # Verdicts are of this read, whoever had the bars before.
            assert found.metadata.verdict == expected.metadata.verdict

    asyncio.run(check())


@cache
def released_thrice() -> tuple[Ports, dict[str, list[Release]]]:
    """Two nodes with three releases each, whose bars differ; made once."""
    return asyncio.run(_released_thrice())


async def _released_thrice() -> tuple[Ports, dict[str, list[Release]]]:
    series = {
        NodeId.parse(f"ohlcv:binance:{symbol}:1m"): random_walk(START, START + DAY, seed=seed)
        for seed, symbol in enumerate(["BTC/USDT", "ETH/USDT"])
    }
    exchange = InMemoryExchange(series=series, clock=ManualClock(START + 2 * DAY))
    ports = in_memory_ports(exchange, artifacts=InMemoryArtifactStore())
    releases: dict[str, list[Release]] = {}
    for step in range(3):
        for node, bars in series.items():
            opened, high, low, close, volume = bars[START + 60]
            bars[START + 60] = (opened, high + step, low, close, volume)
            assert (await materialize(ports, node, Segment(START, START + DAY))).released
            exchange.clock.time += 60  # type: ignore[attr-defined]
            releases[node.symbol] = await ports.artifacts.list_releases(node)
    assert [len(log) for log in releases.values()] == [3, 3]
    return ports, releases


def request_of(read_of: tuple[Any, ...], releases: dict[str, list[Release]]) -> ReadRequest:
    world, domain, number, bound, columns, (first, last), symbol = read_of
    release = releases[symbol][number]
    by = {
        "as_of": {"as_of": release.as_of},
        "fingerprint": {"dataset_fingerprint": release.dataset_fingerprint},
        "both": {"as_of": release.as_of, "dataset_fingerprint": release.dataset_fingerprint},
    }
    lag = 1e9 if domain == "live" else None
    context = None if domain is None else ComputeContext(world, domain, max_lag=lag, **by[bound])
    return ReadRequest.parse(
        f"ohlcv:binance:{symbol}:1m",
        START + 60 * first,
        START + 60 * last,
        context=context,
        strategy=None if domain is None else "FAIL_FAST",
        columns=columns,
        default_sla=UNBOUNDED,
    )
