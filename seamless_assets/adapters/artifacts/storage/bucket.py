"""Files of an object store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import from_url

from seamless_assets.adapters.artifacts.files import PROBE, Take, missing, reported
from seamless_assets.aio.gather import gather
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError, ForkedProcess

T = TypeVar("T")
U = TypeVar("U")
Signed = tuple[bytes, str]
"""Bytes of a file, and its signature as it was when they were read."""
Fetch = Callable[[Sequence[str]], Awaitable[list[Signed]]]
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
    "retry_timeout": timedelta(minutes=2),
}
"""How throttling, server errors and lost connections of a bucket are waited out."""
FIRST_PAUSE_S, LAST_PAUSE_S, RESEND_S = 0.02, 0.5, 30.0
"""Pauses between sendings of one request, and how long they go on."""


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
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._loading = asyncio.Semaphore(GROUPS_AT_ONCE)

    @cached_property
    def _store(self) -> Any:
        """Opened at the first use, so that a store that cannot be had is an error like any other."""
        return from_url(self.root, **{"retry_config": RETRIES, **self._options})

    def uri(self, path: str) -> str:
        """Where a file is."""
        return f"{self.root}/{path}"

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is. Raises `ArtifactStoreError`."""
        return await self._put(path, payload, "create")

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""
        return (await self._get(path))[0]

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`.

        A bucket that is gone, or that does not know who asks, answers as if nothing were there.
        """
        there, is_known_there = await gather(self._is_found(each) for each in (path, beside))
        if not there and not is_known_there:
            uri = self.uri(beside)
            raise ArtifactStoreError(f"{uri} was there and is not found any more{self.advice}", uri=uri)
        return there

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
            listed = obstore.list(self._store, prefix=prefix, offset=after)
            return [
                StoredFile(item["path"], item["size"], item["last_modified"].timestamp(), _signature(item))
                async for batch in listed
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
        await self.read(PROBE)

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """What changes when a file does, of each. Raises like `read`."""
        if len(paths) <= AT_ONCE:
            return await self._each(self._head, paths)
        found = await self._listed(paths)
        for path in paths:
            if path not in found:
                raise missing(self.uri(path))
        return [found[path] for path in paths]

    async def _listed(self, paths: Sequence[str]) -> dict[str, str]:
        """Signatures of all files from the first of `paths` to the last, by path."""
        folder, before, last = os.path.commonpath(paths), os.path.dirname(min(paths)), max(paths)

        async def collect() -> dict[str, str]:
            found: dict[str, str] = {}
            async for batch in obstore.list(self._store, prefix=folder, offset=before):
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

    async def _load(
        self, fetch: Fetch, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]
    ) -> list[U]:
        async def one(number: int, paths: Sequence[str]) -> U:
            async with self._loading:
                found = await fetch(paths)
                payloads, signatures = [payload for payload, _ in found], [known for _, known in found]
                return await asyncio.to_thread(lambda: finish(take(number, payloads, signatures)))

        return await gather(one(number, paths) for number, paths in enumerate(groups))

    async def _fetch(self, paths: Sequence[str]) -> list[Signed]:
        """The bytes of each and its signature."""
        return await self._each(self._get, paths)

    async def _get(self, path: str) -> Signed:
        async def get() -> Signed:
            answer = await obstore.get_async(self._store, path)
            return bytes(await answer.bytes_async()), _signature(answer.meta)

        return await self._resent(path, get, may_be_missing=True)

    async def _head(self, path: str) -> str:
        async def head() -> str:
            return _signature(await obstore.head_async(self._store, path))

        return await self._resent(path, head, may_be_missing=True)

    async def _is_found(self, path: str) -> bool:
        try:
            await self._head(path)
        except ArtifactMissing:
            return False
        return True

    async def _put(self, path: str, payload: bytes, mode: Any) -> bool:

        async def put() -> bool:
            try:
                await obstore.put_async(self._store, path, payload, mode=mode, use_multipart=False)
            except AlreadyExistsError:
                return False
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
        with reported(self.uri(path), self.advice, may_be_missing=may_be_missing):
            while True:
                try:
                    return await send()
                except GenericError:
                    if pause > LAST_PAUSE_S or time.monotonic() > deadline:
                        raise
                await asyncio.sleep(pause)
                pause *= 2


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


def _signature(told: Any) -> str:
    # To the second, as some answers tell no more of a time.
    modified = int(told["last_modified"].timestamp())
    return f"{told['size']} {modified} {told['e_tag'] or ''}"
