"""What a bucket can say: every odd answer is asked about again, or is a typed error that says what to do."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.artifacts import NODE, sealed
from support.own_s3 import BUCKET, XML, Answer, Asked, OwnS3, error, honest_answer, listing

from seamless_assets.adapters.artifacts.exclusive import PROBE_RACE, WRITERS
from seamless_assets.adapters.artifacts.storage import bucket as storage
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import snapshot_at
from seamless_assets.core.releases.release import Release, record_path
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    CreateIfAbsentUnsupported,
    ReleaseConflict,
)

HASTY: Any = {
    "max_retries": 1,
    "backoff": {
        "init_backoff": timedelta(milliseconds=1),
        "max_backoff": timedelta(milliseconds=2),
        "base": 2,
    },
    "retry_timeout": timedelta(seconds=2),
}
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>who are you?</p></body></html>"
Call = Callable[[ArtifactStore, ArtifactRef], Awaitable[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[OwnS3]:
    with OwnS3().running() as running:
        yield running


@pytest.fixture
def s3(server: OwnS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnS3]:
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(storage, "LAST_PAUSE_S", 0.004)
    yield server
    server.forget()


def opened(s3: OwnS3, copies: Path | None = None, **options: Any) -> ArtifactStore:
    kept = CopyFolder(copies, 10_000_000) if copies else None
    return ArtifactStore(s3.root, copies=kept, **s3.options(retry_config=HASTY, **options))


def record(ref: ArtifactRef, reason: str = "test") -> Release:
    before = snapshot_at(str(NODE), [])
    return next_release(before, added=[ref], withdrawn=[], now_micros=1, checks={}, reason=reason)


async def released(s3: OwnS3) -> ArtifactRef:
    store = opened(s3)
    ref = await store.put_artifact(sealed())
    await store.append_release(NODE, record(ref))
    return ref


CALLS: dict[str, Call] = {
    "read the log": lambda store, ref: store.list_releases(NODE),
    "list files": lambda store, ref: store.list_files(NODE),
    "load bars": lambda store, ref: store.load_scan(NODE, [ref]),
    "load a manifest": lambda store, ref: store.load_manifest(NODE, ref),
    "read a file": lambda store, ref: store.read_file(NODE, ref.file_path),
    "put an artifact": lambda store, ref: store.put_artifact(sealed(11)),
    "append a record": lambda store, ref: store.append_release(NODE, record(ref, "another")),
    "remove a file": lambda store, ref: store.remove_files(NODE, ["x"]),
    "look at it": lambda store, ref: store.status(),
}
SKEWED = error("RequestTimeTooSkewed", ServerTime="2026-01-01T00:00:00Z")
ERRORS: dict[str, tuple[Answer, str]] = {
    "SlowDown": (Answer(503, error("SlowDown")), "SlowDown"),
    "InternalError": (Answer(500, error("InternalError")), "InternalError"),
    "NotImplemented": (Answer(501, error("NotImplemented")), "must honour If-None-Match"),
    "BadGateway": (Answer(502, HTML), "502"),
    "TooManyRequests": (Answer(429, b""), "429"),
    "AccessDenied": (Answer(403, error("AccessDenied")), "not allowed to do this"),
    "InvalidAccessKeyId": (Answer(403, error("InvalidAccessKeyId")), "not known to the bucket"),
    "SignatureDoesNotMatch": (
        Answer(403, error("SignatureDoesNotMatch")),
        "does not belong to the access key",
    ),
    "ExpiredToken": (Answer(400, error("ExpiredToken")), "has run out"),
    "clock": (Answer(403, SKEWED), "set it by NTP .the bucket's clock says 2026-01-01T00:00:00Z"),
    "NoSuchBucket": (Answer(404, error("NoSuchBucket")), "bucket"),
    "wrong region": (Answer(400, error("AuthorizationHeaderMalformed")), "set region"),
    "301": (Answer(301, error("PermanentRedirect")), "set region"),
    "307": (Answer(307, error("TemporaryRedirect")), "set region"),
    "RequestTimeout": (Answer(400, error("RequestTimeout")), "RequestTimeout"),
    "a page": (Answer(200, HTML), "ETag|does not show|invalid"),
    "nothing": (Answer(200, b""), "ETag|list response|invalid"),
    "json": (Answer(200, b"{}"), "ETag|list response|invalid"),
}


PAIRS = [
    (call, what)
    for call in CALLS
    for what in ERRORS
    if call in ("read the log", "append a record") or what in ("SlowDown", "clock", "a page")
]


@pytest.mark.parametrize(("call", "what"), PAIRS)
async def test_an_error_that_stays_is_typed_and_says_what_to_do(s3: OwnS3, call: str, what: str) -> None:
    ref = await released(s3)
    held = dict(s3.held)
    answer, message = ERRORS[what]
    s3.odd = lambda asked, honest: answer
    with pytest.raises(ArtifactStoreError, match=message) as refused:
        await CALLS[call](opened(s3), ref)
    assert not isinstance(refused.value, ArtifactMissing | ArtifactCorrupt | ReleaseConflict)
    assert "Debug source" not in str(refused.value)
    # Nothing was lost, and once the bucket is well all goes on.
    assert s3.held == held
    s3.odd = honest_answer
    assert await opened(s3).list_releases(NODE) == [record(ref)]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", ["SlowDown", "InternalError", "BadGateway", "RequestTimeout", "409", "cut"])
async def test_an_error_that_passes_costs_nothing_but_time(s3: OwnS3, call: str, what: str) -> None:
    """Each request is answered so once."""
    ref = await released(s3)
    seen: set[tuple[str, str, str | None]] = set()

    def odd(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        one = (asked.method, asked.key, asked.prefix)
        if one in seen:
            return honest()
        seen.add(one)
        if what == "cut":
            answer = honest()
            answer.length = len(answer.body) + 9 if asked.method == "GET" else None
            return answer
        return Answer(409, error("ConditionalRequestConflict")) if what == "409" else ERRORS[what][0]

    s3.odd = odd
    wanted = pytest.raises(ReleaseConflict) if call == "append a record" else None
    if wanted is None:
        await CALLS[call](opened(s3), ref)
    else:
        with wanted:
            await CALLS[call](opened(s3), ref)


@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"<html><body/></html>",
        error("InternalError"),
        listing("another", "here/", []),
        listing("another", "there/", [("there/_releases/0000000001.json", b"{}")]),
        listing(BUCKET, "here", [("here/x", b"1")] * 2),
        listing(BUCKET, "here", [("here/x", b"1")])[:-60],
        listing(BUCKET, "here", [])[:100],
    ],
    ids=["page", "xhtml", "error", "empty", "another", "twice", "cut", "cut early"],
)
@pytest.mark.parametrize("call", ["read the log", "list files"])
async def test_a_listing_that_is_none_is_never_an_empty_bucket(s3: OwnS3, body: bytes, call: str) -> None:
    ref = await released(s3)
    s3.odd = lambda asked, honest: Answer(200, body, XML) if asked.prefix is not None else honest()
    with pytest.raises(ArtifactStoreError):
        await CALLS[call](opened(s3), ref)
    store = opened(s3)
    s3.odd = honest_answer
    assert len(await store.list_releases(NODE)) == 1
    # Neither is one that goes on without the record that was just found to be there.
    before = await store.load_snapshot(NODE)
    later = next_release(before, added=[], withdrawn=[], now_micros=9, checks={}, reason="later")
    await opened(s3).append_release(NODE, later)
    s3.odd = lambda asked, honest: Answer(200, body, XML) if asked.prefix is not None else honest()
    with pytest.raises(ArtifactStoreError):
        await store.list_releases(NODE)


async def test_a_listing_that_was_odd_once_is_asked_for_again(s3: OwnS3) -> None:
    ref = await released(s3)
    odd = [Answer(200, HTML), Answer(200, listing("another", "there/", [("there/x", b"")]), XML)]
    s3.odd = lambda asked, honest: odd.pop() if asked.prefix is not None and odd else honest()
    assert await opened(s3).list_releases(NODE) == [record(ref)]


@pytest.mark.parametrize("suffix", [".parquet", ".manifest.json", "0000000001.json"])
@pytest.mark.parametrize("call", ["load bars", "load a manifest", "read the log", "put it again", "one file"])
async def test_a_body_damaged_on_its_way_is_asked_for_again_and_never_kept(
    s3: OwnS3, tmp_path: Path, suffix: str, call: str
) -> None:
    ref = await released(s3)
    left = 1

    def odd(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        nonlocal left
        answer = honest()
        if asked.method == "GET" and asked.key.endswith(suffix) and left:
            left -= 1
            answer.body = answer.body[:60] + bytes([answer.body[60] ^ 1]) + answer.body[61:]
        return answer

    s3.odd = odd
    calls: dict[str, Call] = {
        **CALLS,
        "put it again": lambda store, ref: store.put_artifact(sealed()),
        "one file": lambda store, ref: store.load_artifact(NODE, ref),
    }
    store = opened(s3, tmp_path)
    found = await calls[call](store, ref)
    await store.close()
    left = 0
    assert found == await calls[call](opened(s3), ref)
    later = opened(s3, tmp_path)
    assert await calls[call](later, ref) == found
    await later.close()


async def test_a_copy_that_was_kept_of_a_damaged_body_is_none(s3: OwnS3, tmp_path: Path) -> None:
    """As earlier versions may have left one: it stands behind its own hash, and is not what was promised."""
    ref = await released(s3)
    store = opened(s3, tmp_path)
    expected = await store.load_scan(NODE, [ref])
    await store.close()
    copies = CopyFolder(tmp_path, 10_000_000)
    for name in os.listdir(tmp_path):
        body = copies.load(name)
        assert body is not None
        copies.keep(name, body[:-9] + bytes([body[-9] ^ 1]) + body[-8:])
    for _ in range(2):
        asked = len(s3.asked)
        store = opened(s3, tmp_path)
        assert await store.load_scan(NODE, [ref]) == expected
        await store.close()
    # The second time the copies are sound again.
    assert all(item.method == "HEAD" for item in s3.asked[asked:])


@pytest.mark.parametrize("status", [400, 403, 409, 500])
async def test_a_question_for_a_copy_that_fails_ends_nothing(s3: OwnS3, tmp_path: Path, status: int) -> None:
    kept = opened(s3, tmp_path)
    first = await kept.put_artifact(sealed())
    await kept.close()
    s3.odd = lambda asked, honest: Answer(status) if asked.method == "HEAD" else honest()
    store = opened(s3, tmp_path)
    ref = await store.put_artifact(sealed(11))
    assert (await store.load_scan(NODE, [first, ref])).bars.num_rows == 21
    await store.close()


async def test_what_cannot_be_asked_about_after_it_was_written_is_written(s3: OwnS3, tmp_path: Path) -> None:
    """Neither its copy nor a second look at it can be had."""
    store = opened(s3, tmp_path)
    await store.put_artifact(sealed())

    def odd(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        return honest() if asked.method == "PUT" else Answer(500, error("InternalError"))

    s3.odd = odd
    ref = await store.put_artifact(sealed(11))
    await store.close()
    s3.odd = honest_answer
    assert (await opened(s3, tmp_path).load_scan(NODE, [ref])).bars.num_rows == 11


@pytest.mark.parametrize("call", [call for call in CALLS if call != "look at it"])
@pytest.mark.parametrize("silent", [-1, 0, 5])
async def test_a_silent_bucket_ends_a_call_within_its_time(s3: OwnS3, call: str, silent: int) -> None:
    """Whether it takes the connection alone, sends a head, or stops in the middle of a body."""
    ref = await released(s3)

    def odd(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        answer = honest()
        answer.silent_after = silent
        answer.length = len(answer.body) + 9
        return answer

    s3.odd = odd
    client = {**s3.options()["client_options"], "read_timeout": timedelta(seconds=0.05)}
    store = opened(s3, client_options=client)
    began = time.monotonic()
    with pytest.raises(ArtifactStoreError):
        await CALLS[call](store, ref)
    assert time.monotonic() - began < 30


async def test_a_look_at_a_silent_bucket_ends_sooner(s3: OwnS3, monkeypatch: pytest.MonkeyPatch) -> None:
    from seamless_assets.adapters.artifacts import store as stores

    monkeypatch.setattr(stores, "PROBE_S", 0.05)
    s3.odd = lambda asked, honest: Answer(silent_after=-1)
    with pytest.raises(ArtifactStoreError, match="did not answer within"):
        await opened(s3).status()


def ignoring(asked: Asked, honest: Callable[[], Answer]) -> Answer:
    del asked.headers["If-None-Match"]
    return honest()


def refusing(asked: Asked, honest: Callable[[], Answer]) -> Answer:
    is_conditional = asked.headers.get("If-None-Match") is not None
    return Answer(501, error("NotImplemented")) if is_conditional else honest()


def swallowing(asked: Asked, honest: Callable[[], Answer]) -> Answer:
    """Says yes to every write, and keeps nothing new."""
    return Answer(headers={"ETag": '"x"'}) if asked.method == "PUT" else honest()


class Hasty:
    """Looks whether there is such an object, and writes it once all who ask at that time have looked."""

    def __init__(self, s3: OwnS3) -> None:
        self._s3, self._looked = s3, threading.Barrier(WRITERS)

    def __call__(self, asked: Asked, honest: Callable[[], Answer]) -> Answer:
        if asked.method != "PUT" or asked.key in self._s3.held:
            return honest()
        if asked.key.endswith(PROBE_RACE):
            self._looked.wait()
        return ignoring(asked, honest)


async def test_a_bucket_that_looks_before_it_writes_is_refused(s3: OwnS3) -> None:
    s3.odd = Hasty(s3)
    for call in ("look at it", "put an artifact"):
        s3.held.clear()
        with pytest.raises(CreateIfAbsentUnsupported, match="more than one is told"):
            await CALLS[call](opened(s3), None)
        assert all("_probe" in key for key in s3.held)


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (ignoring, CreateIfAbsentUnsupported),
        (refusing, ArtifactStoreError),
        (swallowing, ArtifactStoreError),
    ],
)
async def test_a_bucket_that_cannot_keep_what_is_there_is_refused_and_not_written_to(
    s3: OwnS3, odd: Any, kind: type[ArtifactStoreError]
) -> None:
    ref = await released(s3)
    held = {key: body for key, body in s3.held.items() if "_probe" not in key}
    s3.odd = odd
    for call in ("look at it", "put an artifact", "append a record"):
        with pytest.raises(kind):
            await CALLS[call](opened(s3), ref)
    assert {key: body for key, body in s3.held.items() if "_probe" not in key} == held
    assert await opened(s3).list_releases(NODE) == [record(ref)]


async def test_of_two_writers_that_were_both_told_yes_one_hears_no(s3: OwnS3) -> None:
    """A bucket that honours the header but for one moment."""
    first, second = opened(s3), opened(s3)
    ref = await first.put_artifact(sealed())
    await second.put_artifact(sealed())
    path = record_path(1)

    def odd(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        return ignoring(asked, honest) if asked.key.endswith(path) else honest()

    s3.odd = odd
    entries = [record(ref, reason) for reason in ("one", "another")]
    both_written = asyncio.Barrier(2)
    for store in (first, second):
        create = store._files.create

        async def created(path: str, payload: bytes, create: Any = create) -> bool:
            done: bool = await create(path, payload)
            await both_written.wait()
            return done

        store._files.create = created  # type: ignore[method-assign]
    outcomes = await asyncio.gather(
        first.append_release(NODE, entries[0]),
        second.append_release(NODE, entries[1]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(ReleaseConflict) == 1
    assert await opened(s3).list_releases(NODE) == [entries[outcomes.index(None)]]


async def test_a_process_looks_once_before_its_first_write(s3: OwnS3) -> None:
    store = opened(s3)
    await asyncio.gather(*(store.put_artifact(sealed(rows)) for rows in range(3, 9)))
    assert len([asked for asked in s3.asked if "_probe_once" in asked.key]) <= 4
    asked = len(s3.asked)
    await store.put_artifact(sealed(20))
    assert len(s3.asked) - asked == 2
