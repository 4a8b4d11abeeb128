"""Files of a folder or a bucket: each is whole or not there, and none is ever written over.

Both kinds answer the same calls; paths are relative to the root and use `/`.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import LocalStore, from_url

from seamless_assets._together import together
from seamless_assets.core.artifact import StoredFile
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError, ForkedProcess

T = TypeVar("T")
Use = Callable[[Sequence[bytes], list[int] | None], T]
"""What is done with the bytes of files and their signatures."""
AT_ONCE = 64
"""Requests to a bucket side by side."""
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
PROBE = "_probe"
"""Written over at each look at the store; it is the only file that is."""
_LONG_STORY = "\n\nDebug source"
"""Behind this the client says once more what it said."""
_LEFTOVER = re.compile(r"#\d+$")


def open_files(uri: str, options: Mapping[str, Any]) -> FolderFiles | BucketFiles:
    """The files below a folder (absolute path or `file://`) or a URL such as `s3://bucket/prefix`."""
    if "://" in uri and not uri.startswith("file://"):
        return BucketFiles(uri.rstrip("/"), options)
    return FolderFiles(str(Path(uri.removeprefix("file://")).absolute()))


class BucketFiles:
    """Files of an object store; `options` go to its client."""

    kind = "an object store"
    advice = (
        "; check the bucket's name, and region, endpoint and credentials "
        "in seamless.artifact.s3 or the AWS_* environment"
    )
    runs_at_once = 4
    """Runs to load side by side: one is decoded while others are on their way."""

    def __init__(self, root: str, options: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self._options = dict(options or {})
        self._gate = asyncio.Semaphore(AT_ONCE)

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

        async def get() -> bytes:
            answer = await obstore.get_async(self._store, path)
            return bytes(await answer.bytes_async())

        return await self._resent(path, get, may_be_missing=True)

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`.

        A bucket that is gone, or that does not know who asks, answers as if nothing were there.
        """
        there, is_known_there = await together(self._is_found(each) for each in (path, beside))
        if not there and not is_known_there:
            uri = self.uri(beside)
            raise ArtifactStoreError(f"{uri} was there and is not found any more{self.advice}", uri=uri)
        return there

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each, many at once. Raises like `read`."""

        async def one(path: str) -> bytes:
            async with self._gate:
                return await self.read(path)

        return await together(one(path) for path in paths)

    async def load(self, paths: Sequence[str], use: Use[T]) -> T:
        """What `use` makes, in a thread, of the bytes of each and their signatures. Raises like `read`."""
        return await asyncio.to_thread(use, await self.read_all(paths), None)

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""

        async def collect() -> list[StoredFile]:
            listed = obstore.list(self._store, prefix=prefix, offset=after)
            return [
                StoredFile(item["path"], item["size"], item["last_modified"].timestamp())
                async for batch in listed
                for item in batch
            ]

        found = await self._resent(prefix, collect)
        return sorted(found, key=lambda file: file.path)

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        for path in paths:
            await self._resent(path, partial(obstore.delete_async, self._store, path))

    async def probe(self) -> None:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""
        await self._put(PROBE, b"probe", "overwrite")
        await self.read(PROBE)

    async def signatures(self, paths: Sequence[str]) -> list[int] | None:
        """What changes when a file does; None where that cannot be told without reading it."""
        return None

    async def _is_found(self, path: str) -> bool:
        try:
            await self._resent(path, partial(obstore.head_async, self._store, path), may_be_missing=True)
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


class FolderFiles(BucketFiles):
    """Files of a folder. They are written through a neighbour (`#` and a number), which a killed writer may
    leave."""

    kind = "a folder"
    advice = ""
    runs_at_once = 2

    @cached_property
    def _store(self) -> Any:
        return LocalStore(self.root, mkdir=True)

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is. What was created outlives a power cut.

        Raises `ArtifactStoreError`.
        """
        return await asyncio.to_thread(self._create, path, payload)

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""
        return (await asyncio.to_thread(self._read, path))[0]

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file; `beside` does not matter."""
        return self._is_there(path)

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each. Raises like `read`."""
        return await asyncio.to_thread(lambda: [self._read(path)[0] for path in paths])

    async def load(self, paths: Sequence[str], use: Use[T]) -> T:
        """What `use` makes, in a thread, of the bytes of each and their signatures. Raises like `read`."""

        def read_and_use() -> T:
            read = [self._read(path) for path in paths]
            return use([payload for payload, _ in read], [signature for _, signature in read])

        return await asyncio.to_thread(read_and_use)

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""
        with reported(self.uri(prefix)):
            found = await asyncio.to_thread(lambda: list(self._walk(prefix)))
        return sorted(
            (file for file in found if after is None or file.path > after), key=lambda file: file.path
        )

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files, leftovers too; those that are not there are no error."""
        for path in paths:
            with reported(self.uri(path)):
                await asyncio.to_thread(Path(self.root, path).unlink, missing_ok=True)

    async def signatures(self, paths: Sequence[str]) -> list[int] | None:
        """Size, times and place on disk of each file in one number."""
        return await asyncio.to_thread(lambda: [self._signature(path) for path in paths])

    def _is_there(self, path: str) -> bool:
        # One look at a folder takes microseconds, a turn through another thread a hundred.
        return os.path.exists(f"{self.root}/{path}")

    def _create(self, path: str, payload: bytes) -> bool:
        uri = self.uri(path)
        folder, draft = os.path.dirname(uri), f"{uri}#{uuid4().int}"
        with reported(uri, may_be_missing=False):
            _make_folder(folder)
            try:
                with open(draft, "xb") as file:
                    file.write(payload)
                    file.flush()
                    os.fsync(file.fileno())
                # Of many that link at once one wins; its file is whole.
                os.link(draft, uri)
            except FileExistsError:
                return False
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft)
            _sync_folder(folder)
        return True

    def _read(self, path: str) -> tuple[bytes, int]:
        """Its bytes, and its signature from before they were read."""
        uri = self.uri(path)
        try:
            with open(uri, "rb", buffering=0) as file:
                signature = _signature(os.fstat(file.fileno()))
                return file.read(), signature
        except OSError as error:
            raise _translated(error, uri) from error

    def _signature(self, path: str) -> int:
        uri = self.uri(path)
        try:
            return _signature(os.stat(uri))
        except OSError as error:
            raise _translated(error, uri) from error

    def _walk(self, folder: str) -> Iterator[StoredFile]:
        try:
            entries = list(os.scandir(f"{self.root}/{folder}"))
        except FileNotFoundError:
            return
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(path)
                continue
            try:
                told = entry.stat()
            except FileNotFoundError:
                continue
            yield StoredFile(path, told.st_size, told.st_mtime, bool(_LEFTOVER.search(entry.name)))


def _make_folder(folder: str) -> None:
    if not os.path.isdir(folder):
        above = os.path.dirname(folder)
        _make_folder(above)
        os.makedirs(folder, exist_ok=True)
        _sync_folder(above)


def _sync_folder(folder: str) -> None:
    """Wait until the names in it are on disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


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


def _signature(told: os.stat_result) -> int:
    return hash((told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino))


@contextmanager
def reported(uri: str, advice: str = "", *, may_be_missing: bool = True) -> Iterator[None]:
    """Errors of the store in our words."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise _translated(error, uri, advice, may_be_missing=may_be_missing) from error


def _translated(
    error: Exception, uri: str, advice: str = "", *, may_be_missing: bool = True
) -> ArtifactStoreError:
    if may_be_missing and isinstance(error, FileNotFoundError):
        return ArtifactMissing(f"{uri} is not there; it was removed or never written", uri=uri)
    told = str(error).partition(_LONG_STORY)[0]
    return ArtifactStoreError(f"artifact store cannot reach {uri}: {told}{advice}", uri=uri)
