"""`connect("http://...")`: the same face, the same values and the same errors as the pipeline behind it."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pandas as pd
import pytest
from aiohttp import web
from fastapi import FastAPI
from service.conftest import HOLE, NODE, THIN
from service.test_history import decoded
from support.served import served
from support.services import free_port

import seamless_assets as sa
from seamless_assets.adapters.http import service as client
from seamless_assets.core.wire import frames
from seamless_assets.errors import (
    AccessRefused,
    AsOfRegression,
    InvalidInput,
    NotServed,
    SeamlessError,
    ServiceUnavailable,
)
from seamless_assets.pipeline.remote.face import AsyncRemote
from seamless_assets.pipeline.seamless import AsyncSeamless
from seamless_assets.service.answers import encodings
from seamless_assets.service.routes import history
from seamless_assets.testing import DAY, START

WINDOW = (START, START + DAY)


@pytest.fixture(scope="module")
def url(make_app: Callable[..., FastAPI]) -> Iterator[str]:
    """Where the service of the pipeline answers."""
    with served(make_app()) as address:
        yield address


@pytest.fixture(scope="module")
def remote(url: str) -> Iterator[sa.Seamless]:
    """The same pipeline over HTTP."""
    with sa.connect(url) as opened:
        yield opened


def outcome(work: Callable[[], Any]) -> Any:
    """What came of a call: its value, or its error with all that it tells."""
    try:
        value = work()
    except SeamlessError as error:
        return type(error), str(error), error.facts
    return (value.bars, value.metadata) if isinstance(value, sa.ReadResult) else value


READS: list[dict[str, Any]] = [
    {},
    {"start": START, "end": START + DAY},
    {"start": "2025-01-01", "end": "2025-01-01T06:00:00+01:00", "columns": ("close", "ts")},
    {"limit": 7},
    {"start": HOLE[0] - 60, "end": HOLE[1] + 60, "fill": "previous_close"},
    {"sla": "baseline"},
    {"sla": {"total_deadline_ms": 5_000}},
    {"sla": sa.SLAPolicy(max_sync_gap_bars=9)},
    {"start": START - 60},
    {"start": START + 60, "end": START},
    {"columns": "shut"},
    {"limit": 0},
    {"limit": True},
    {"fill": "zero"},
    {"strategy": "HOPE"},
    {"sla": "golden"},
    {"sla": {"total_deadline_ms": -1}},
    {"sla": {"patience": 1}},
    {"context": sa.ComputeContext()},
    {"context": 5},
    {"node": "BTC"},
    {"node": "ohlcv:binance:NO/NE:1m"},
]


@pytest.mark.parametrize("arguments", READS)
def test_a_read_is_the_same_over_http(pipeline: sa.Seamless, remote: sa.Seamless, arguments: Any) -> None:
    given = {"node": NODE, **arguments}
    assert outcome(lambda: remote.read(**given)) == outcome(lambda: pipeline.read(**given))


@pytest.mark.parametrize("form", ["arrow", "json", "csv"])
def test_a_long_read_comes_in_pieces_and_whole(
    pipeline: sa.Seamless, url: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for room in (history, frames):
        monkeypatch.setattr(room, "BATCH_ROWS", 100)
    monkeypatch.setattr(history, "SHORT_ROWS", 99)
    monkeypatch.setattr(encodings, "TEXT_ROWS", 100)
    expected = pipeline.read(NODE, *WINDOW).to_pandas()
    query = urlencode({"node": NODE, "start": WINDOW[0], "end": WINDOW[1], "format": form})
    with urlopen(f"{url}/v1/history?{query}") as answer:
        body = answer.read()
        assert form != "arrow" or int(answer.headers["Content-Length"]) == len(body)
    pd.testing.assert_frame_equal(decoded(form, body), expected)


@pytest.mark.parametrize("number", [0, 1])
def test_a_read_bound_to_a_release_is_the_same_over_http(
    pipeline: sa.Seamless, remote: sa.Seamless, number: int
) -> None:
    release = pipeline.releases(NODE)[number]
    for context in (
        sa.ComputeContext(world_id="wélt/1 ?&", domain="backtest", as_of=release.as_of),
        sa.ComputeContext(dataset_fingerprint=release.dataset_fingerprint),
        sa.ComputeContext(domain="dryrun", as_of=release.as_of),
    ):
        given = {"context": context, "end": START + DAY, "start": START, "strategy": "FAIL_FAST"}
        mine, theirs = pipeline.read(NODE, **given), remote.read(NODE, **given)
        assert theirs.bars.equals(mine.bars) and theirs.metadata == mine.metadata
        assert set(theirs.metadata.sla) == set(mine.metadata.sla)


@pytest.mark.parametrize("node", [NODE, THIN])
def test_everything_else_that_is_read_is_the_same_over_http(
    pipeline: sa.Seamless, remote: sa.Seamless, node: str
) -> None:
    first = pipeline.releases(node)[0].as_of
    ref = pipeline.snapshot(node).artifacts[0]
    for name, arguments in (
        ("releases", ()),
        ("coverage", WINDOW),
        ("coverage", WINDOW[::-1]),
        ("ledger", WINDOW),
        ("condition", WINDOW),
        ("diff", (first,)),
        ("snapshot", ()),
        ("snapshot", (first,)),
        ("snapshot", ("2001-01-01T00:00:00Z",)),
        ("snapshot_files", ()),
        ("released_window", ()),
        ("manifest", (ref,)),
    ):
        ours = outcome(lambda: getattr(pipeline, name)(node, *arguments))  # noqa: B023
        theirs = outcome(lambda: getattr(remote, name)(node, *arguments))  # noqa: B023
        assert theirs == ours and type(theirs) is type(ours), name


async def test_what_is_not_served_is_refused_by_name(url: str) -> None:
    remote, refused = AsyncRemote(url), set()
    for name, method in inspect.getmembers(AsyncSeamless, inspect.isfunction):
        if getattr(getattr(AsyncRemote, name), "__wrapped__", None) is not method:
            continue
        refused.add(name)
        with pytest.raises(NotServed, match=name):
            await getattr(remote, name)(NODE)
    assert {"backfill", "materialize", "materialize_each", "release", "rollback", "gc", "diagnose"} <= refused
    assert not refused & {"read", "session", "coverage", "condition", "releases", "close"}
    with pytest.raises(NotServed):
        _ = remote.settings


def test_a_session_over_http_is_one_of_the_service(pipeline: sa.Seamless, remote: sa.Seamless) -> None:
    first, second = (release.as_of for release in pipeline.releases(NODE))
    mine = pipeline.session(world_id="shared", domain="live", as_of=first, max_lag=1e12)
    theirs = remote.session(world_id="shared", domain="live", as_of=first, max_lag=1e12)
    assert theirs.as_of(NODE) == first == mine.as_of(NODE)
    assert theirs.advance(NODE) == second == mine.as_of(NODE)
    assert theirs.read(NODE, *WINDOW, strategy="FAIL_FAST").metadata.as_of == second
    with pytest.raises(AsOfRegression):
        theirs.advance(NODE, first)
    assert mine.pin(NODE, first, reason="a look back") == first
    seen = theirs.read(NODE, *WINDOW, strategy="FAIL_FAST").metadata
    assert seen.as_of == first and any("a look back" in reason for reason in seen.reasons)
    assert theirs.unpin(NODE) == first and theirs.advance(NODE) == second
    assert theirs.state(NODE) == mine.state(NODE) and theirs.verdicts(NODE) == mine.verdicts(NODE)
    assert remote.session("a new one").as_of(NODE) == second


def test_a_dry_run_over_http_keeps_to_its_release(pipeline: sa.Seamless, remote: sa.Seamless) -> None:
    first = pipeline.releases(NODE)[0].as_of
    session = remote.session("dry", "dryrun", as_of=first)
    assert session.as_of(NODE) == first
    assert session.read(NODE, *WINDOW, strategy="FAIL_FAST").metadata.as_of == first
    with pytest.raises(InvalidInput, match="live sessions"):
        session.advance(NODE)


async def test_the_async_face_and_a_pickled_one_work_too(url: str, remote: sa.Seamless) -> None:
    async with sa.connect(url).aio as face:
        many = await asyncio.gather(*(face.read(NODE, limit=n) for n in range(1, 20)))
        assert [read.metadata.rows for read in many] == list(range(1, 20))
    with pickle.loads(pickle.dumps(remote)) as copy:
        assert copy.read(NODE, limit=3).metadata.rows == 3


def test_a_token_of_the_environment_travels_in_no_pickle(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAMLESS_TOKEN", "token-of-this-machine")
    with sa.connect(url) as face:
        assert b"token-of-this-machine" not in pickle.dumps(face)
    with sa.connect(url, token="given-in-the-call") as face:
        assert b"given-in-the-call" in pickle.dumps(face)


def test_a_token_is_shown_from_the_call_the_url_or_the_environment(
    make_app: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(make_app(tokens=True)) as address:
        for token in (None, "wrong", "l-token"):
            with sa.connect(address, token=token) as face, pytest.raises(AccessRefused):
                face.releases(NODE)
        with sa.connect(address, token="r-token") as face:
            assert face.read(NODE, limit=1).metadata.rows == 1
            session = face.session("w")
            assert session.state(NODE) == "ACTIVE"
            with pytest.raises(AccessRefused, match="operate"):
                session.pin(NODE, START + 10 * DAY, reason="may not")
        with sa.connect(address.replace("//", "//bot:r-token@")) as face:
            assert face.releases(NODE)
        monkeypatch.setenv("SEAMLESS_TOKEN", "r-token")
        with sa.connect(address) as face:
            assert face.releases(NODE)


def test_what_means_nothing_beside_a_url_is_refused() -> None:
    with pytest.raises(InvalidInput, match="s3"):
        sa.connect("http://127.0.0.1:1", s3=sa.S3Access())
    with pytest.raises(InvalidInput, match="token"):
        sa.connect("seamless.yaml", token="t")
    with pytest.raises(InvalidInput) as refused:
        sa.connect("http://user:secret@ho st/")
    assert "secret" not in str(refused.value)


@asynccontextmanager
async def answering(status: int, body: bytes, form: str = "application/json") -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=form)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>sign in</html>"),
        (200, b"{}"),
        (200, b"[" * 100_000),
        (302, b""),
        (404, b"not found"),
        (500, b'{"error": "Exception", "title": "", "status": 500, "detail": ""}'),
        (502, b"\xff\xfe"),
    ],
)
async def test_what_no_service_answers_is_an_outage(status: int, body: bytes) -> None:
    async with answering(status, body) as address:
        face = AsyncRemote(address)
        try:
            for ask in (face.read(NODE), face.releases(NODE), face.coverage(NODE, *WINDOW)):
                with pytest.raises(ServiceUnavailable, match=address):
                    await ask
        finally:
            await face.close()


async def test_a_service_that_is_away_or_says_too_much_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    face = AsyncRemote(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServiceUnavailable, match="seamless serve"):
        await face.read(NODE)
    await face.close()
    monkeypatch.setattr(client, "ANSWER_BYTES", 10)
    async with answering(200, b"x" * 11) as address:
        face = AsyncRemote(address)
        with pytest.raises(ServiceUnavailable, match="longer than"):
            await face.read(NODE)
        await face.close()
