"""A folder of local copies: bounded, shared by many processes, and never in the way of what is copied.

A copy stands behind the SHA-256 of its bytes, and is written whole under a name of its own and then renamed;
one that is not as it was written is none. Its reader holds it against the release log like anything that is
stored. It is read and not mapped into memory, so that what was proven stays so, whatever is done to the file.
The least recently used go first when the folder grows too large.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from seamless_assets.adapters.artifacts.storage.regular import read_whole, regular_file
from seamless_assets.aio.shield import shielded

_STALE_S = 3_600.0
"""A copy that was not finished by then never will be."""
_RECENT_S = 3_600.0
"""A copy that was used since then is as good as used now."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_SPARE = 16
"""The folder is brought this part below its limit, so that it need not be looked through at each copy."""


class CopyFolder:
    """Copies in `folder`, at most `max_bytes` of them together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        self._room: int | None = None
        """What may be written until the folder is looked through again; None before it ever was."""
        self._writer: ThreadPoolExecutor | None = None
        self._writing: set[Future[None]] = set()

    def holds(self, name: str) -> bool:
        """Whether there is a copy of this name, good or not."""
        return os.path.exists(self._path(name))

    def load(self, name: str) -> bytes | None:
        """The copy of this name; None where there is none that is as it was written."""
        try:
            with regular_file(self._path(name)) as (file, status):
                if status.st_size > self._max_bytes:
                    return None
                if time.time() - status.st_mtime > _RECENT_S:
                    # Of a folder that may only be read nothing is driven out, so no time is needed there.
                    with suppress(OSError):
                        os.utime(file)
                stored = read_whole(file, status.st_size)
        except OSError:
            return None
        digest, body = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return body if hashlib.sha256(body).digest() == digest else None

    def keep(self, name: str, body: bytes, *, may_evict: bool = True) -> None:
        """Write a copy, and let go of the oldest above the limit. A full disk is no error of the caller.

        One that `may_evict` none is written only where there is room.
        """
        path = self._path(name)
        draft = f"{path}.{uuid4().hex}.tmp"
        try:
            os.makedirs(self._folder, exist_ok=True)
            size = _DIGEST_BYTES + len(body)
            if not may_evict and not self._has_room(size):
                return
            with open(draft, "wb") as file:
                file.write(hashlib.sha256(body).digest())
                file.write(body)
            os.replace(draft, path)
            self._make_room(size)
        except OSError:
            with suppress(OSError):
                os.unlink(draft)

    def keep_soon(self, copies: Sequence[tuple[str, Callable[[], bytes]]], *, may_evict: bool = True) -> None:
        """Begin to write copies, each made by a call, and return."""

        def write() -> None:
            for name, make in copies:
                self.keep(name, make(), may_evict=may_evict)

        if copies:
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "copies")
            writing = self._writer.submit(write)
            self._writing.add(writing)
            writing.add_done_callback(self._forget)

    async def settle(self) -> None:
        """Wait for what was begun. Raises what went wrong with it, or with what was begun before."""
        writing, self._writing = self._writing, set()
        # Not on a thread: as the process ends none begins any more. Who is cancelled leaves once all is
        # written: a writer that ends later would call into a loop that may be closed.
        await shielded(asyncio.gather(*map(asyncio.wrap_future, writing), return_exceptions=True))
        for done in writing:
            done.result()

    async def close(self) -> None:
        """Settle, and end the thread that writes; the next copy begins another."""
        try:
            await self.settle()
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.shutdown()

    def _forget(self, written: Future[None]) -> None:
        if not written.cancelled() and written.exception() is None:
            self._writing.discard(written)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._room is None:
                self._room = self._max_bytes - self._shrink()
            return size <= self._room

    def _make_room(self, size: int) -> None:
        with self._lock:
            if self._room is None or self._room < size:
                self._room = self._max_bytes - self._shrink()
            else:
                self._room -= size

    def _shrink(self) -> int:
        """Remove the oldest copies, and what was never finished; how many bytes are left."""
        now, copies = time.time(), []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                status = entry.stat()
                if not entry.name.endswith(".tmp"):
                    copies.append((status.st_mtime, status.st_size, entry.path))
                elif now - status.st_mtime > _STALE_S:
                    os.unlink(entry.path)
        held = sum(size for _, size, _ in copies)
        if held <= self._max_bytes:
            return held
        for _, size, path in sorted(copies):
            if held <= self._max_bytes - self._max_bytes // _SPARE:
                break
            Path(path).unlink(missing_ok=True)
            held -= size
        return held
