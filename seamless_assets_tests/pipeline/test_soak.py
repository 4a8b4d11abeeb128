"""What a long life costs: nothing of a call stays once it is over, however it ended.

Judged by what there is afterwards, never by the clock: objects by their types, tasks, threads, descriptors
and the bytes that Arrow has allocated.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from inspect import isawaitable, signature
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pytest

import seamless_assets as sa
from seamless_assets.adapters.artifacts.storage.folder import FolderFiles
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.errors import ArtifactStoreError, SeamlessError
from seamless_assets.pipeline.loop import portal as portals
from seamless_assets.pipeline.seamless import AsyncSeamless
from seamless_assets.pipeline.world import AsyncWorldSession
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox

START, DAY = 1_735_689_600, 86_400
NODE = "ohlcv:binance:ADA/BTC:1h"
WINDOW = (START, START + 2 * DAY)
WARM_UP, ROUNDS = 2, 8
BOUNDED = {
    # Weak references of tasks that are over, contexts and timers of a loop, statements that SQLite caches:
    # swept now and then, so there may be some more or some less.
    *("ReferenceType", "builtin_function_or_method", "KeyedRef"),
    *("Context", "hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"),
    *("TimerHandle", "Handle", "Statement"),
}
STATE = {
    "Release",
    "ArtifactRef",
    "Revision",
    "Snapshot",
    "Segment",
    "tuple",
    "dict",
    "list",
    "frozenset",
    "set",
}
"""What a release log in memory is made of: it grows with the log."""

Face = Any
Call = Callable[[Face], Any]
ARGUMENTS: dict[str, Any] = {
    "node": NODE,
    "nodes": [NODE],
    "start": WINDOW[0],
    "end": WINDOW[1],
    "reason": "to see what stays",
    "partition": "2020-01",
    "before": "2030-01-01",
    "as_of": "2030-01-01",
}
SPECIAL: dict[str, Call] = {
    "manifest": lambda s: s.manifest(NODE, s.artifact),
    "diff": lambda s: s.diff(NODE, s.as_of),
    "export": lambda s: s.export(NODE, s.file, *WINDOW, overwrite=True),
    "verify_export": lambda s: s.verify_export(s.file),
    "ingest": lambda s: s.ingest(s.file, NODE),
    "subscribe": lambda s: s.subscribe([NODE], since=WINDOW[0], until=WINDOW[1]),
    "panel": lambda s: s.panel([NODE], since=WINDOW[0], until=WINDOW[1]),
    "rollback": lambda s: s.rollback(NODE, reason="to what is in force", as_of=s.as_of),
}


def public(face: type) -> list[str]:
    return [name for name in dir(face) if not name.startswith("_") and callable(getattr(face, name))]


def plain_call(face: type, name: str) -> Call:
    """The method with what `ARGUMENTS` has for all that it must be given."""
    parameters = list(signature(getattr(face, name)).parameters.values())[1:]
    arguments = {p.name: ARGUMENTS[p.name] for p in parameters if p.default is p.empty}
    return lambda s: getattr(s, name)(**arguments)


def session_call(name: str) -> Call:
    call = plain_call(AsyncWorldSession, name)
    return lambda s: call(s.session("w"))


EVERY: dict[str, Call] = {
    **{name: plain_call(AsyncSeamless, name) for name in public(AsyncSeamless) if name not in SPECIAL},
    **SPECIAL,
    **{f"session {name}": session_call(name) for name in public(AsyncWorldSession)},
}
del EVERY["close"]
PATIENT = {"subscribe", "panel"}
"""They wait for a store that is away, however long."""


class Known:
    """A face, and what the calls need to know of what was released."""

    def __init__(self, face: Face, as_of: str, artifact: Any, file: Path) -> None:
        self._face, self.as_of, self.artifact, self.file = face, as_of, artifact, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._face, name)


@pytest.fixture(autouse=True, scope="module")
def unlogged() -> Iterator[None]:
    """pytest keeps the records of a test until it is over, at whatever level an earlier one has set."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    young = Market("ADA/BTC", 0.00001, 0.14, listed=START - 30 * DAY)
    with Sandbox(now=START + 5 * DAY, markets=[young]).running() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def settings(exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    binance = {"base_url": exchange.url, "symbols": ["ADA/BTC"], "timeframes": ["1h"], "start": START}
    plenty = {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000}
    return settings_from_mapping(
        {
            "seamless": {"rate_limit": plenty, "artifact": {"object_store_uri": "./artifacts"}},
            "exchanges": {"binance": binance},
        },
        base=tmp_path_factory.mktemp("soak"),
        environ={},
    )


@pytest.fixture(scope="module")
def pipeline(settings: Settings) -> Iterator[sa.Seamless]:
    with sa.connect(settings) as opened:
        assert opened.materialize(NODE, *WINDOW).released
        opened.aio.portal.run(all_threads(opened))
        # Calls that are cut may come to what is made once, such as connections, at any time later.
        for call in EVERY.values():
            with suppress(SeamlessError):
                finished(call(known(opened, opened)))
        # What is there by now is nobody's concern, and need not be looked at again and again.
        gc.collect()
        gc.freeze()
        yield opened
        gc.unfreeze()


async def all_threads(pipeline: sa.Seamless) -> None:
    """Have every thread there may be, each with its connection to the hot store, and those of the loop."""
    many = min(32, (os.cpu_count() or 1) + 4)
    barrier = threading.Barrier(many)
    hot: Any = pipeline.aio.ports.hot
    await asyncio.gather(*(hot._run(lambda _: barrier.wait()) for _ in range(many)))
    await asyncio.gather(*(asyncio.to_thread(barrier.wait) for _ in range(many)))


def test_every_public_method_is_soaked() -> None:
    assert {*EVERY, "close"} >= {*public(AsyncSeamless)} and "session read" in EVERY


class Soak:
    """Counts before and after; asserts that nothing has grown by as much as the rounds between."""

    def __init__(
        self,
        pipeline: sa.Seamless,
        exchange: Sandbox,
        grows: set[str] | None = None,
        runner: asyncio.Runner | None = None,
        looks: int = 50,
    ) -> None:
        self._pipeline, self._exchange, self._runner, self._looks = pipeline, exchange, runner, looks
        self._grows = BOUNDED | (grows or set())

    def __enter__(self) -> Self:
        self._before = self._counts()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            looks = 1
            while (grown := self._grown()) and looks < self._looks:
                # A thread that has answered may not have let go of its question yet.
                looks += 1
                time.sleep(0.1)
            assert grown == {}

    def _grown(self) -> dict[str, int]:
        more = self._counts() - self._before
        return {name: n for name, n in more.items() if n >= ROUNDS and name not in self._grows}

    def _counts(self) -> Counter[str]:
        self._pipeline.aio.portal.start(quiet()).result(60)
        if self._runner is not None:
            self._runner.run(quiet())
        self._exchange.requests.clear()
        for _ in range(3):
            gc.collect()
        found = Counter(type(thing).__name__ for thing in gc.get_objects())
        found["threads"] = threading.active_count()
        found["descriptors"] = len(os.listdir("/proc/self/fd"))
        # Small enough to be seen, whatever the size of what stays.
        found["kilobytes of Arrow"] = pa.total_allocated_bytes() // 1_000
        return found


KEPT: dict[str, Callable[[sa.Seamless], Any]] = {
    "a result": lambda s: s.read(NODE, *WINDOW),
    "an error": lambda s: failure(lambda: s.read(NODE, START - DAY, START)),
    "what it began": lambda s: s.backfill_in_background(NODE, *WINDOW),
    "a thread": lambda s: sa.connect(s.settings).aio.portal.adapters,
    # Two, as an idle connection may be closed meanwhile.
    "files": lambda s: os.pipe(),
    "memory": lambda s: pa.allocate_buffer(2_000),
}


def failure(call: Callable[[], Any]) -> Exception:
    with pytest.raises(SeamlessError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("what", KEPT)
def test_what_stays_is_seen(pipeline: sa.Seamless, exchange: Sandbox, what: str) -> None:
    kept: list[Any] = [KEPT[what](pipeline)]
    with pytest.raises(AssertionError), Soak(pipeline, exchange, looks=2):
        kept += [KEPT[what](pipeline) for _ in range(ROUNDS)]
    for file in (file for files in kept if isinstance(files, tuple) for file in files):
        os.close(file)


async def quiet() -> None:
    """Return when nothing else is under way on this loop, and timers that were cancelled are swept."""
    loop = asyncio.get_running_loop()
    for _ in range(200):
        loop.call_later(3_600, print).cancel()
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


def finished(outcome: Any) -> None:
    """Wait for whatever a called method returns."""
    if isinstance(outcome, Future):
        outcome.result(60)
    elif isinstance(outcome, Iterator):
        next(outcome)
        list(outcome)


async def awaited(outcome: Any) -> None:
    """Wait for whatever a method of the async twin returns."""
    if isinstance(outcome, Future):
        outcome = asyncio.wrap_future(outcome)
    if isinstance(outcome, AsyncIterator):
        async for _ in outcome:
            pass
    elif isawaitable(outcome):
        await outcome


def rounds(
    pipeline: sa.Seamless,
    exchange: Sandbox,
    once: Callable[[Call], None],
    runner: asyncio.Runner | None = None,
    but: Collection[str] = (),
) -> None:
    """Call every method several times, `but` some, and judge what is left."""
    calls = [call for name, call in EVERY.items() if name not in but]
    for _ in range(WARM_UP):
        for call in calls:
            once(call)
    with Soak(pipeline, exchange, runner=runner):
        for _ in range(ROUNDS):
            for call in calls:
                once(call)


def known(pipeline: sa.Seamless, face: Face) -> Known:
    snapshot = pipeline.snapshot(NODE)
    assert snapshot.release is not None
    file = pipeline.settings.base / "bars.csv"
    pipeline.export(NODE, file, *WINDOW, overwrite=True)
    return Known(face, snapshot.release.as_of, snapshot.artifacts[0], file)


@pytest.fixture
def faces(pipeline: sa.Seamless) -> tuple[Known, Known]:
    return known(pipeline, pipeline), known(pipeline, pipeline.aio)


def test_calls_leave_nothing_behind(
    pipeline: sa.Seamless, exchange: Sandbox, faces: tuple[Known, Known]
) -> None:
    def once(call: Call) -> None:
        with suppress(SeamlessError):
            finished(call(faces[0]))

    rounds(pipeline, exchange, once)


def test_awaited_calls_leave_nothing_behind(
    pipeline: sa.Seamless, exchange: Sandbox, faces: tuple[Known, Known]
) -> None:
    with asyncio.Runner() as runner:

        async def one(call: Call) -> None:
            with suppress(SeamlessError):
                await awaited(call(faces[1]))

        rounds(pipeline, exchange, lambda call: runner.run(one(call)), runner)


STORES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (SqliteHotStore, ("_run",)),
    (
        FolderFiles,
        ("create", "exists", "read", "read_all", "load", "list_files", "list_paths", "signatures", "probe"),
    ),
)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Gives every question to the stores another answer."""

    def answer(instead: Callable[..., Any]) -> None:
        for store, names in STORES:
            for name in names:
                monkeypatch.setattr(store, name, instead)

    yield answer
    monkeypatch.undo()


def test_calls_that_fail_leave_nothing_behind(
    pipeline: sa.Seamless,
    exchange: Sandbox,
    faces: tuple[Known, Known],
    stores: Callable[[Callable[..., Any]], None],
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise ArtifactStoreError("the disk is away")

    stores(refuse)
    failed: Counter[str] = Counter()
    with asyncio.Runner() as runner:

        async def one(call: Call) -> None:
            await awaited(call(faces[1]))

        def once(call: Call) -> None:
            for way in (lambda: finished(call(faces[0])), lambda: runner.run(one(call))):
                try:
                    way()
                except SeamlessError as error:
                    failed[type(error).__name__] += 1

        rounds(pipeline, exchange, once, runner, but=PATIENT)
    assert failed["ArtifactStoreError"] > WARM_UP * (len(EVERY) - len(PATIENT))


@pytest.mark.parametrize("how", ["cancelled", "timed out", "interrupted"])
def test_calls_that_are_cut_leave_nothing_behind(
    pipeline: sa.Seamless,
    exchange: Sandbox,
    faces: tuple[Known, Known],
    stores: Callable[[Callable[..., Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """In the middle of a question to a store that does not answer."""
    asked, cut = threading.Event(), Counter[str]()

    # Told without a thread: those of an executor come and go.
    tell: list[Callable[[], Any]] = [asked.set]

    async def hang(*_: Any, **__: Any) -> None:
        tell[0]()
        await asyncio.Event().wait()

    async def time_out(call: Call) -> None:
        async with asyncio.timeout(0):
            await awaited(call(faces[1]))

    async def cancel(call: Call) -> None:
        loop, hangs = asyncio.get_running_loop(), asyncio.Event()
        tell[0] = partial(loop.call_soon_threadsafe, hangs.set)
        task = asyncio.ensure_future(awaited(call(faces[1])))
        task.add_done_callback(lambda _: hangs.set())
        await hangs.wait()
        task.cancel()
        await task

    def interrupt(future: Future[Any]) -> None:
        future.add_done_callback(lambda _: asked.set())
        assert asked.wait(60)
        raise KeyboardInterrupt

    with asyncio.Runner() as runner:

        def once(call: Call) -> None:
            asked.clear()
            try:
                if how == "interrupted":
                    begun = call(faces[0])
                    begun.cancel() if isinstance(begun, Future) else finished(begun)
                else:
                    runner.run((cancel if how == "cancelled" else time_out)(call))
            except (asyncio.CancelledError, TimeoutError, KeyboardInterrupt, SeamlessError) as error:
                cut[type(error).__name__] += 1

        stores(hang)
        if how == "interrupted":
            monkeypatch.setattr(portals, "_wait_for", interrupt)
        rounds(pipeline, exchange, once, runner)
    assert sum(cut.values()) > WARM_UP * len(EVERY)


def test_what_is_released_and_taken_back_leaves_its_records_and_nothing_else(
    pipeline: sa.Seamless, exchange: Sandbox
) -> None:
    def once() -> None:
        pipeline.withdraw(NODE, "2025-01", reason="to and fro")
        pipeline.release(NODE, reason="to and fro", partition="2025-01")

    for _ in range(WARM_UP):
        once()
    with Soak(pipeline, exchange, STATE):
        for _ in range(ROUNDS):
            once()


def loops() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "seamless-assets"}


def test_a_pipeline_that_is_opened_again_and_again_leaves_nothing_behind(
    pipeline: sa.Seamless, exchange: Sandbox, settings: Settings
) -> None:
    """Closed, used again after it was closed, or dropped: then its loop ends by itself."""
    lasting = sa.connect(settings)

    def once() -> None:
        with sa.connect(settings) as closed:
            closed.read(NODE, *WINDOW)
        with lasting:
            lasting.read(NODE, *WINDOW)
        before = loops()
        sa.connect(settings).read(NODE, *WINDOW)
        gc.collect()
        for thread in loops() - before:
            thread.join(60)
        assert loops() == before

    for _ in range(WARM_UP):
        once()
    with Soak(pipeline, exchange):
        for _ in range(ROUNDS):
            once()
