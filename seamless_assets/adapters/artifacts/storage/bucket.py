"""Files of an object store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import Any, NamedTuple, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import from_url

from seamless_assets.adapters.artifacts.files import (
    PROBE,
    Take,
    in_short,
    missing,
    most_bytes,
    refuse_changed,
    too_large,
)
from seamless_assets.adapters.artifacts.storage.s3_answers import answer_of
from seamless_assets.aio.gather import gather
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    ForkedProcess,
    mask_causes,
)

T = TypeVar("T")
U = TypeVar("U")
AT_ONCE = 64
"""Requests to a bucket side by side."""
GROUPS_AT_ONCE = 4
"""Groups of files in memory: one is decoded while others are on their way."""
RETRIES: Any = {
    "max_retries": 8,
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=10),
        "base": 2,
    },
    "retry_timeout": timedelta(seconds=30),
}
"""How throttling, server errors, silence and lost connections of a bucket are waited out."""
_SECRETS = ("secret_access_key", "session_token")
FIRST_PAUSE_S, LAST_PAUSE_S, RESEND_S = 0.02, 0.5, 30.0
"""Pauses between sendings of one request, and how long they go on."""
PAGE_S = 60.0
"""The longest wait for the next objects of a listing."""
WRITES_TAKE = 3
"""So many times as long as reads: the client counts the sending of a file as silence of the bucket."""


class Signed(NamedTuple):
    """Bytes of a file, its signature as it was when they were read, and whether they are a local copy's."""

    payload: bytes
    signature: str
    is_copy: bool = False


Fetch = Callable[[Sequence[str]], Awaitable[list[Signed]]]


class OddAnswer(GenericError):
    """An answer that no object store gives, from a proxy or a login page; it may be better the next time."""


class BucketFiles:
    """Files of an object store; `options` go to its client."""

    kind = "an object store"
    advice = (
        "; check the bucket's name, and region, endpoint and credentials "
        "in seamless.artifact.s3 or the AWS_* environment"
    )
    is_near = False

    def __init__(self, root: str, options: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self._options = dict(options or {})
        self._secrets = [str(self._options[name]) for name in _SECRETS if self._options.get(name)]
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._loading = asyncio.Semaphore(GROUPS_AT_ONCE)

    @cached_property
    def _store(self) -> Any:
        """Opened at the first use, so that a store that cannot be had is an error like any other."""
        return from_url(self.root, **{"retry_config": RETRIES, **self._options})

    @cached_property
    def _writing_store(self) -> Any:
        options = {"retry_config": RETRIES, **self._options}
        client = dict(options.get("client_options") or {})
        if "read_timeout" in client:
            client["read_timeout"] = WRITES_TAKE * client["read_timeout"]
        return from_url(self.root, **{**options, "client_options": client})

    def uri(self, path: str) -> str:
        """Where a file is."""
        return f"{self.root}/{path}"

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is. Raises `ArtifactStoreError`."""
        return await self._put(path, payload, "create")

    async def change(
        self,
        create: Sequence[tuple[str, bytes]],
        replace: Sequence[tuple[str, bytes]],
        remove: Sequence[str],
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others.

        Of the new ones the last is written after the others, which are side by side. Raises
        `ArtifactStoreError`.
        """
        await gather(self.create(path, payload) for path, payload in create[:-1])
        for path, payload in create[-1:]:
            await self.create(path, payload)
        for path, payload in replace:
            await self.replace(path, payload)
        await self.remove(remove)

    async def replace(self, path: str, payload: bytes) -> None:
        """Write a file whole, over what is there. Raises `ArtifactStoreError`."""
        await self._put(path, payload, "overwrite")

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""
        return (await self._get(path)).payload

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`.

        A bucket that is gone, or that does not know who asks, answers as if nothing were there.
        """
        there, is_known_there = await gather(self.is_there(each) for each in (path, beside))
        if not there and not is_known_there:
            uri = self.uri(beside)
            raise ArtifactStoreError(f"{uri} was there and is not found any more{self.advice}", uri=uri)
        return there

    async def is_there(self, path: str) -> bool:
        """Whether there is such a file, in a bucket that is known to be there."""
        try:
            await self._head(path)
        except ArtifactMissing:
            return False
        return True

    def is_there_now(self, path: str) -> bool | None:
        """None: it has to be asked."""

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each, many at once. Raises like `read`."""
        return await self._each(self.read, paths)

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files, in a thread. Raises like `read`."""
        return await self._load(self._fetch, groups, take, finish)

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Nothing: there is nowhere to."""

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""

        async def collect() -> list[StoredFile]:
            return [
                StoredFile(item["path"], item["size"], item["last_modified"].timestamp(), _signature(item))
                async for batch in self._batches(prefix, after)
                for item in batch
            ]

        found = await self._resent(prefix, collect)
        return sorted(found, key=lambda file: file.path)

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        """Paths of the files in a folder (later than `after`), ascending."""
        return [file.path for file in await self.list_files(folder, after)]

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        for path in paths:
            await self._resent(path, partial(obstore.delete_async, self._store, path))

    async def probe(self) -> None:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""
        await self._put(PROBE, b"probe", "overwrite")
        refuse_changed(self.uri(PROBE), await self.read(PROBE), b"probe")

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """What changes when a file does, of each. Raises like `read`."""
        if len(paths) <= AT_ONCE:
            return await self._each(self._head, paths)
        found = await self._listed(paths)
        # What a listing does not show is there all the same, or not, as it says when it is asked for.
        unseen = [path for path in paths if path not in found]
        found.update(zip(unseen, await self._each(self._head, unseen), strict=True))
        return [found[path] for path in paths]

    async def _listed(self, paths: Sequence[str]) -> dict[str, str]:
        """Signatures of all files from the first of `paths` to the last, by path."""
        folder, before, last = os.path.commonpath(paths), os.path.dirname(min(paths)), max(paths)

        async def collect() -> dict[str, str]:
            found: dict[str, str] = {}
            async for batch in self._batches(folder, before):
                found.update((item["path"], _signature(item)) for item in batch)
                if batch and batch[-1]["path"] >= last:
                    break
            return found

        return await self._resent(folder, collect)

    async def _each(self, ask: Callable[[str], Awaitable[T]], paths: Sequence[str]) -> list[T]:
        async def one(path: str) -> T:
            async with self._gate:
                return await ask(path)

        return await gather(one(path) for path in paths)

    async def _batches(self, prefix: str, after: str | None) -> AsyncIterator[Sequence[Any]]:
        """A listing, some objects at a time. Raises `OddAnswer` unless each is below `prefix`, once."""
        listed, seen = obstore.list(self._store, prefix=prefix, offset=after), set[str]()
        while True:
            try:
                batch = await asyncio.wait_for(anext(listed, None), PAGE_S)
            except TimeoutError as error:
                raise OddAnswer(f"no objects of its listing came for {PAGE_S:.0f} s") from error
            if batch is None:
                return
            for path in (item["path"] for item in batch):
                if not path.startswith(f"{prefix}/") or path in seen:
                    raise OddAnswer(f"its listing holds {path}, which was not asked for or comes again")
                seen.add(path)
            yield batch

    async def _load(
        self, fetch: Fetch, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]
    ) -> list[U]:
        async def one(number: int, paths: Sequence[str]) -> U:
            async with self._loading:
                taken = await self._taken(fetch, number, paths, take)
                return await asyncio.to_thread(finish, taken)

        return await gather(one(number, paths) for number, paths in enumerate(groups))

    async def _taken(self, fetch: Fetch, number: int, paths: Sequence[str], take: Take[T]) -> T:
        """What `take` makes of a group; what it refuses is asked for again, past every copy."""

        async def attempt(found: Sequence[Signed]) -> T:
            payloads, signatures = [file.payload for file in found], [file.signature for file in found]
            return await asyncio.to_thread(take, number, payloads, signatures)

        found = await fetch(paths)
        try:
            taken = await attempt(found)
        except ArtifactCorrupt:
            # Bytes can be damaged on their way, or in a copy.
            found = await self._fetch(paths)
            taken = await attempt(found)
        self._proven(paths, found)
        return taken

    def _proven(self, paths: Sequence[str], found: Sequence[Signed]) -> None:
        """Hears which files were as they were promised."""

    async def _fetch(self, paths: Sequence[str]) -> list[Signed]:
        """The bytes of each and its signature."""
        return await self._each(self._get, paths)

    async def _get(self, path: str) -> Signed:
        async def get() -> Signed:
            answer = await obstore.get_async(self._store, path)
            signature, size = _signature(answer.meta), answer.meta["size"]
            if size > most_bytes(path):
                raise too_large(self.uri(path), size)
            payload = bytes(await answer.bytes_async())
            if len(payload) != size:
                raise OddAnswer(f"{len(payload)} bytes came of {size}")
            return Signed(payload, signature)

        return await self._resent(path, get, may_be_missing=True)

    async def _head(self, path: str) -> str:
        async def head() -> str:
            try:
                return _signature(await obstore.head_async(self._store, path))
            except BaseError:
                # Only the answer to a GET says why, and it may be a better one.
                return _signature((await obstore.get_async(self._store, path)).meta)

        return await self._resent(path, head, may_be_missing=True)

    async def _put(self, path: str, payload: bytes, mode: Any) -> bool:
        async def put() -> bool:
            try:
                await obstore.put_async(self._writing_store, path, payload, mode=mode, use_multipart=False)
            except AlreadyExistsError as error:
                # So a bucket answers too while another write is under way that may come to nothing.
                if await self.is_there(path):
                    return False
                raise OddAnswer("it was said to be there already, and it is not") from error
            return True

        return await self._resent(path, put)

    async def _resent(
        self, path: str, send: Callable[[], Awaitable[T]], *, may_be_missing: bool = False
    ) -> T:
        """Send a request, and again where its connection was lost, which the client does for reads alone.

        A write that was done before its answer was lost finds its own file the next time. Where no file
        `may_be_missing`, "not found" is said of the bucket, or of who asks.
        """
        _refuse_forked()
        pause, deadline = FIRST_PAUSE_S, time.monotonic() + RESEND_S
        while True:
            try:
                return await send()
            except (BaseError, OSError) as error:
                is_over = pause > LAST_PAUSE_S or time.monotonic() > deadline
                may_pass = isinstance(error, GenericError | AlreadyExistsError)
                if is_over or not may_pass or answer_of(error).is_final:
                    # An answer may repeat what it was asked with.
                    mask_causes(error, self._secrets)
                    raise self._translated(error, path, may_be_missing=may_be_missing) from error
            await asyncio.sleep(pause)
            pause *= 2

    def _translated(self, error: Exception, path: str, *, may_be_missing: bool) -> ArtifactStoreError:
        """An error of the client in our words, with what there is to do about it."""
        answer, uri = answer_of(error), self.uri(path)
        if may_be_missing and isinstance(error, FileNotFoundError) and answer.code != "NoSuchBucket":
            return missing(uri)
        advice = f"; {answer.advice}" if answer.advice else ""
        return ArtifactStoreError(
            f"artifact store cannot reach {uri}: {in_short(error)}{advice}{self.advice}",
            uri=uri,
            status=answer.status,
            code=answer.code,
        )


@cache
def _owner() -> int:
    """The process that the client's threads live in: the one of its first request."""
    return os.getpid()


def _refuse_forked() -> None:
    """Raise `ForkedProcess` in a child, where the client would wait for its parent's threads for ever."""
    if _owner() != os.getpid():
        raise ForkedProcess(
            "the artifact store was in use by the process that this one was forked from, and its client does "
            "not survive that; start the child by `spawn` or `forkserver`"
        )


def _signature(meta: Any) -> str:
    """The signature of an object. Raises `OddAnswer` where it has no ETag, which every object has."""
    if not meta["e_tag"]:
        raise OddAnswer("the answer has no ETag: whatever answered is no object store")
    # To the second, as some answers tell no more of a time.
    modified = int(meta["last_modified"].timestamp())
    return f"{meta['size']} {modified} {meta['e_tag']}"
