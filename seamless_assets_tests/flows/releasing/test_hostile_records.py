"""Records and manifests whose hashes are right and whose content is hostile.

Each field in turn says what it must not: whatever is done with such a store ends soon, with a typed error if
it cannot be done, and loses nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import canonical_json, sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import MAX_MERGES
from seamless_assets.core.releases.release import as_record, record_path
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import ArtifactCorrupt, ReleaseRefused, SeamlessError
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, rollback, withdraw
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryArtifactStore,
    InMemoryExchange,
    InMemoryFiles,
    ManualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1h")
DAYS = Segment(START, START + 3 * DAY)
FOLDER = "exchange=binance/symbol=BTC%2FUSDT/timeframe=1h"
HOSTILE: list[Any] = [
    *(
        "",
        "zzzz",
        "../../../outside",
        "/etc/passwd",
        "\x00",
        "\x1b[2J",
        "a" * 100_000,
        "sha256:../../../outside",
    ),
    *("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z", "2025-01-01", "sha256:" + "0" * 64),
    *(-1, 0, 1, 10**12, 2**63, 10**30, -(10**30), 1.5, True, None),
    *([], {}, [[]], ["x"], {"x": 1}, [1, 2]),
]
Act = Callable[[Ports], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "read": lambda ports: read_released(ports, NODE, DAYS, ComputeContext(), columns=None),
    "verify": lambda ports: verify(ports, NODE),
    "publish": lambda ports: publish(ports, NODE, DAYS),
    "materialize": lambda ports: materialize(ports, NODE, DAYS),
    "withdraw": lambda ports: withdraw(ports, NODE, "2025-01-01", "a bad day"),
    "roll back": lambda ports: rollback(ports, NODE, "it was good", to=1),
    "release": lambda ports: release_by_hand(ports, NODE, "all is well", "2025-01-01"),
    "compact": lambda ports: compact(ports, NODE, "year"),
    "clean up": lambda ports: clean_up(ports, NODE, grace_s=-1e12),
}


class World:
    """Two days in force, a third that is sealed and waits, all in memory."""

    def __init__(self) -> None:
        clock = ManualClock(time=START + 5 * DAY)
        self.exchange = InMemoryExchange(
            random_walk(START - DAY, START + 4 * DAY, step=3_600, skip=0.1), clock
        )
        self.files = InMemoryFiles(clock)
        made = in_memory_ports(self.exchange, artifacts=InMemoryArtifactStore(self.files))
        self.ports = replace(made, policy=replace(made.policy, partition_units={"1h": "day"}))

    async def fill(self) -> ArtifactRef:
        assert (await materialize(self.ports, NODE, Segment(START, START + 2 * DAY))).released
        self.released = dict(self.files.held)
        (sealed,) = await publish(self.ports, NODE, Segment(START + 2 * DAY, START + 3 * DAY))
        return sealed.ref

    async def record(self, **given: Any) -> dict[str, Any]:
        """What the next record may say."""
        before = await self.ports.artifacts.load_snapshot(NODE)
        facts = {"added": [], "withdrawn": [], "checks": {}, "reason": "test", **given}
        return as_record(next_release(before, now_micros=(START + 5 * DAY) * 1_000_000, **facts))

    def append(self, record: dict[str, Any]) -> None:
        """Write a record under its right hash."""
        self.files.held[f"{FOLDER}/{record_path(3)}"] = signed(record)
        self.files.made_at[f"{FOLDER}/{record_path(3)}"] = START

    def opened(self) -> Ports:
        """As a process finds it that has seen nothing yet."""
        return replace(self.ports, artifacts=InMemoryArtifactStore(self.files))

    async def stand(self, *acts: str) -> None:
        """Do what can be done with the store: each act succeeds, or says why not, and loses nothing."""
        for act in acts or ACTS:
            with suppress(SeamlessError):
                await ACTS[act](self.opened())
        assert {path: self.files.held.get(path) for path in self.released} == self.released


def signed(record: dict[str, Any]) -> bytes:
    body = {name: value for name, value in record.items() if name != "hash"}
    return canonical_json({**body, "hash": sha256_text(canonical_json(body))})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value holds another, at every depth; of a list the first is as good as any."""
    if path:
        yield path
    inside = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, below in inside:
        yield from leaves(below, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with something else at that place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


SHARE = 5
"""A run that is no deep one tries this part of the values in each field, others in the next."""
EVERY = pytest.param(1, marks=pytest.mark.deep)


@pytest.mark.parametrize("share", [SHARE, EVERY])
async def test_a_record_that_says_what_none_can_is_stood(share: int) -> None:
    world = World()
    ref = await world.fill()
    log = await world.ports.artifacts.list_releases(NODE)
    revision = {"partition": "2025-01-03", "added": 1, "removed": 0, "changed": 0, "examples": [1]}
    record = {
        **await world.record(added=[ref]),
        "revisions": [revision],
        "discarded": [f"2025-01-03/{'0' * 64}.parquet"],
        "withdrawn": as_record(log[-1])["added"],
        "checks": {"coverage": True},
    }
    whole = dict(world.files.held)
    tried = refused = 0
    for number, path in enumerate(leaves(record)):
        for value in HOSTILE[number % share :: share]:
            world.append(with_value(record, path, value))
            tried += 1
            try:
                await world.opened().artifacts.list_releases(NODE)
            except ArtifactCorrupt:
                refused += 1
                await world.stand("verify")
            else:
                await world.stand()
            world.files.held, world.files.made_at = dict(whole), dict.fromkeys(whole, START)
    assert tried > 1_000 // share and refused > 0.8 * tried


@pytest.mark.parametrize("share", [SHARE, EVERY])
async def test_a_manifest_that_says_what_none_can_is_stood(share: int) -> None:
    world = World()
    ref = await world.fill()
    path = f"{FOLDER}/{ref.manifest_path}"
    manifest = json.loads(world.files.held[path])
    whole = dict(world.files.held)
    for number, place in enumerate(leaves(manifest)):
        for value in HOSTILE[number % share :: share]:
            payload = canonical_json(with_value(manifest, place, value))
            world.files.held[path] = payload
            hostile = replace(ref, manifest_sha256=sha256_text(payload))
            world.append(await world.record(added=[hostile]))
            await world.stand("read", "verify")
            world.files.held, world.files.made_at = dict(whole), dict.fromkeys(whole, START)


def with_opens(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[pa.Table], pa.Table]:
    return lambda bars: bars.set_column(0, bars.schema.field(0), pa.array(change(timestamps(bars))))


BARS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "in another order": lambda bars: bars.take(pa.array(np.roll(np.arange(bars.num_rows), 1))),
    "backwards": lambda bars: bars.take(pa.array(np.arange(bars.num_rows)[::-1])),
    "one open twice": with_opens(lambda ts: np.append(ts[:1], ts[:-1])),
    "a day later": with_opens(lambda ts: ts + DAY),
    "centuries earlier": with_opens(lambda ts: ts - 200_000 * DAY),
    "a second off": with_opens(lambda ts: ts + 1),
    "the last one off": with_opens(lambda ts: np.append(ts[:-1], ts[-1] + 60)),
    "the first one out": with_opens(lambda ts: np.append(START - 3_600, ts[1:])),
    "one too few": lambda bars: bars.slice(1),
    "none": lambda bars: bars.slice(0, 0),
}
SAYS = {
    "another node": {"node_id": "ohlcv:binance:ETH/USDT:1h"},
    "a longer range": {"range": (START, START + 2 * DAY)},
    "other rows": {"rows": 1},
}


@pytest.mark.parametrize("how", [*BARS, *SAYS])
async def test_bars_that_lie_elsewhere_than_their_release_says_are_never_served(how: str) -> None:
    world = World()
    await world.fill()
    ref, other = (await world.ports.artifacts.load_snapshot(NODE)).artifacts
    manifest = await world.ports.artifacts.load_manifest(NODE, ref)
    bars = await world.ports.artifacts.load_artifact(NODE, ref)
    # A writer of another program need not lay bars out as ours does, which tells where they lie.
    sink = io.BytesIO()
    pq.write_table(BARS[how](bars) if how in BARS else bars, sink)
    payload = sink.getvalue()
    facts = {"file_sha256": sha256_text(payload), "file_bytes": len(payload), "policy": {}}
    stored = replace(manifest, **facts, **SAYS.get(how, {})).to_json()
    hashes = {"file_sha256": facts["file_sha256"], "manifest_sha256": sha256_text(stored)}
    hostile = replace(ref, copy=1, edition=1, **hashes)
    for path, content in ((hostile.file_path, payload), (hostile.manifest_path, stored)):
        world.files.held[f"{FOLDER}/{path}"], world.files.made_at[f"{FOLDER}/{path}"] = content, START
    world.append(await world.record(added=[hostile], withdrawn=[ref]))
    with pytest.raises(ArtifactCorrupt, match="release other bars"):
        await read_released(world.opened(), NODE, ref.segment, ComputeContext(), columns=None)
    store = world.opened().artifacts
    with pytest.raises(ArtifactCorrupt, match="release other bars"):
        await (store.load_artifact if how in BARS else store.load_manifest)(NODE, hostile)
    assert (await verify(world.opened(), NODE)).faults
    assert await read_released(world.opened(), NODE, other.segment, ComputeContext(), columns=None)
    await rollback(world.opened(), NODE, "its bars lie elsewhere", to=2)
    assert await read_released(world.opened(), NODE, ref.segment, ComputeContext(), columns=None)
    await world.stand()


@pytest.mark.parametrize(
    "spoil",
    [
        b'{"added":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"later":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001 + b"\n",
        b"[" * 1_000_000,
        b"{" + b'"a":1,' * 100_000 + b'"b":2}\n',
        b"1" * 5_000,
        b'"\\ud800"',
        b"\xff" * 100,
        b"",
        b"null\n",
    ],
)
@pytest.mark.parametrize("which", ["record", "manifest"])
async def test_bytes_that_are_no_record_at_all_are_stood(spoil: bytes, which: str) -> None:
    world = World()
    ref = await world.fill()
    if which == "record":
        world.files.held[f"{FOLDER}/{record_path(3)}"] = spoil
        world.files.made_at[f"{FOLDER}/{record_path(3)}"] = START
        with pytest.raises(ArtifactCorrupt):
            await world.opened().artifacts.list_releases(NODE)
    else:
        world.files.held[f"{FOLDER}/{ref.manifest_path}"] = spoil
        world.append(await world.record(added=[replace(ref, manifest_sha256=sha256_text(spoil))]))
    await world.stand()
    assert not (await verify(world.opened(), NODE)).is_sound


async def test_a_manifest_nested_deep_is_refused() -> None:
    world = World()
    ref = await world.fill()
    nested = world.files.held[f"{FOLDER}/{ref.manifest_path}"].replace(
        b'"policy":{', b'"policy":{"deep":' + b"[" * 50_000 + b"]" * 50_000 + b",", 1
    )
    world.files.held[f"{FOLDER}/{ref.manifest_path}"] = nested
    world.append(await world.record(added=[replace(ref, manifest_sha256=sha256_text(nested))]))
    with pytest.raises(ArtifactCorrupt, match="not a readable manifest"):
        await read_released(world.opened(), NODE, DAYS, ComputeContext(), columns=None)
    await world.stand()


async def test_a_clean_up_that_names_files_in_force_removes_none() -> None:
    world = World()
    waiting = await world.fill()
    in_force = (await world.ports.artifacts.load_snapshot(NODE)).artifacts
    named = [path for ref in (*in_force, waiting) for path in (ref.file_path, ref.manifest_path)]
    world.append(await world.record(kind="clean_up", discarded=[*named, "../../outside", record_path(1)]))
    await clean_up(world.opened(), NODE, grace_s=-1e12)
    for ref in in_force:
        assert f"{FOLDER}/{ref.file_path}" in world.files.held
    assert f"{FOLDER}/{record_path(1)}" in world.files.held
    await world.stand()


@pytest.mark.parametrize("how", ["overlap", "itself", "twice", "both ways"])
async def test_a_record_that_would_tear_what_is_in_force_is_refused(how: str) -> None:
    world = World()
    await world.fill()
    first, second = (asdict(ref) for ref in (await world.ports.artifacts.load_snapshot(NODE)).artifacts)
    longer = {**first, "end": first["end"] + 3_600, "manifest_sha256": "sha256:" + "1" * 64}
    tearing: dict[str, dict[str, Any]] = {
        "overlap": {"added": [longer], "withdrawn": [first]},
        "itself": {"added": [first], "withdrawn": [first], "kind": "compaction"},
        "twice": {"added": [longer, longer], "withdrawn": [first, second]},
        "both ways": {"added": [first]},
    }
    world.append({**await world.record(), **tearing[how]})
    with pytest.raises(ArtifactCorrupt):
        await world.opened().artifacts.list_releases(NODE)
    await world.stand()


async def test_after_a_record_of_the_last_instant_no_other_is_written_and_it_is_said_why() -> None:
    world = World()
    await world.fill()
    record = await world.record()
    world.append({**record, "as_of": "2099-12-03T16:53:19.999500Z"})
    with pytest.raises(ReleaseRefused, match="take the record away that is dated 2099-12-03"):
        await withdraw(world.opened(), NODE, "2025-01-01", "a bad day")
    del world.files.held[f"{FOLDER}/{record_path(3)}"], world.files.made_at[f"{FOLDER}/{record_path(3)}"]
    assert (await withdraw(world.opened(), NODE, "2025-01-01", "a bad day")).seq == 3


async def test_compactions_of_compactions_end() -> None:
    """A chain of merges, each one bar longer than the last, deeper than any stack."""
    world = World()
    await world.fill()
    store = world.ports.artifacts
    first = merged = (await store.load_snapshot(NODE)).artifacts[0]
    for number in range(2, 2 + MAX_MERGES + 1):
        before = await store.load_snapshot(NODE)
        merged = replace(merged, start=merged.start - 3_600, manifest_sha256=f"sha256:{number:064x}")
        inside = [ref for ref in before.artifacts if ref.start <= first.start]
        entry = next_release(
            before, added=[merged], withdrawn=inside, now_micros=0, checks={}, reason="", kind="compaction"
        )
        world.files.held[f"{FOLDER}/{record_path(entry.seq)}"] = entry.to_json()
        world.files.made_at[f"{FOLDER}/{record_path(entry.seq)}"] = START
        if number < 2 + MAX_MERGES:
            await world.opened().artifacts.list_releases(NODE)
    with pytest.raises(ArtifactCorrupt, match="merges what was merged"):
        await world.opened().artifacts.list_releases(NODE)
    await world.stand()
