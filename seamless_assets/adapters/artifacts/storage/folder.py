"""Files of a folder."""

from __future__ import annotations

import asyncio
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from seamless_assets.adapters.artifacts.files import (
    PROBE,
    Take,
    most_bytes,
    refuse_changed,
    reported,
    too_large,
    translated,
)
from seamless_assets.adapters.artifacts.storage.regular import IrregularFile, open_regular, read_whole
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactCorrupt, ArtifactStoreError

T = TypeVar("T")
U = TypeVar("U")
SYNCED_BESIDE = 3
"""Files that threads of their own wait for the disk of, beside the one that the caller waits for."""
_LEFTOVER = re.compile(r"#\d+$")


class FolderFiles:
    """Files below the folder `root`.

    They are written through a neighbour (`#` and a number), which a killed writer may leave.
    """

    kind = "a folder"
    is_near = True

    def __init__(self, root: str) -> None:
        self.root = root
        self._is_on_disk = False
        # They begin with the first files that are created together, and end with this object.
        self._syncing = ThreadPoolExecutor(SYNCED_BESIDE, "fsync")

    def uri(self, path: str) -> str:
        """Where a file is."""
        return f"{self.root}/{path}"

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is. What was created outlives a power cut.

        Raises `ArtifactStoreError`.
        """
        return await asyncio.to_thread(self._create, path, payload)

    async def change(
        self,
        create: Sequence[tuple[str, bytes]],
        replace: Sequence[tuple[str, bytes]],
        remove: Sequence[str],
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others, in one go.

        A power cut may undo it, but leaves no file with other bytes than it was created with.
        Raises `ArtifactStoreError`.
        """
        await asyncio.to_thread(self._change, create, replace, remove)

    async def replace(self, path: str, payload: bytes) -> None:
        """Write a file whole, over what is there; a power cut may undo it. Raises `ArtifactStoreError`."""
        await asyncio.to_thread(self._replace, path, payload)

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""
        return (await asyncio.to_thread(self._read, path))[0]

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`."""
        if self._is_there(path):
            return True
        if not self._is_there(beside):
            uri = self.uri(beside)
            raise ArtifactStoreError(f"{uri} was there and is not found any more; restore it", uri=uri)
        return False

    async def is_there(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._is_there(path)

    def is_there_now(self, path: str) -> bool | None:
        """The same, said at once and to any thread; None where the folder is on no disk of this machine."""
        # A look at a server's folder may last for ever. File systems without a disk have device numbers of
        # their own, whose major part is 0.
        if not self._is_on_disk:
            try:
                self._is_on_disk = os.major(os.stat(self.root).st_dev) != 0
            except FileNotFoundError:
                # It is made with the first file.
                return False
            except OSError:
                return None
        return self._is_there(path) if self._is_on_disk else None

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each. Raises like `read`."""
        return await asyncio.to_thread(lambda: [self._read(path)[0] for path in paths])

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files, in two threads. Raises like `read`."""
        return await asyncio.to_thread(self._load, groups, take, finish)

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Nothing: it is at hand."""

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""
        with reported(self.uri(prefix)):
            found = await asyncio.to_thread(lambda: list(self._walk(prefix)))
        return sorted(
            (file for file in found if after is None or file.path > after), key=lambda file: file.path
        )

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        """Paths of the files right in a folder (later than `after`), ascending; no more is asked of them."""
        with reported(self.uri(folder)):
            names = await asyncio.to_thread(self._names, folder)
        paths = sorted([f"{folder}/{name}" for name in names])
        return paths if after is None else paths[bisect_right(paths, after) :]

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files, leftovers too; those that are not there are no error."""
        for path in paths:
            await asyncio.to_thread(self._remove, path)

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """Size, times and place on disk of each file. Raises like `read`."""
        return await asyncio.to_thread(lambda: [self._signature(path) for path in paths])

    async def probe(self) -> None:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""
        await asyncio.to_thread(self._probe)

    def _load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        def load(number: int) -> U:
            read = [self._read(path) for path in groups[number]]
            return finish(take(number, [payload for payload, _ in read], [known for _, known in read]))

        if len(groups) < 2:
            return [load(number) for number in range(len(groups))]
        # Each thread has one group in memory, and neither waits for the other.
        with ThreadPoolExecutor(2, "load") as threads:
            return list(threads.map(load, range(len(groups))))

    def _is_there(self, path: str) -> bool:
        # One look at a folder takes microseconds, a turn through another thread a hundred.
        return os.path.lexists(f"{self.root}/{path}")

    def _probe(self) -> None:
        with reported(self.uri(PROBE), may_be_missing=False):
            _make_folder(self.root)
            probe = Path(self.root, PROBE)
            probe.write_bytes(b"probe")
            refuse_changed(self.uri(PROBE), probe.read_bytes(), b"probe")

    def _create(self, path: str, payload: bytes) -> bool:
        (is_new,) = self._create_all([(path, payload)])
        if is_new:
            with reported(self.uri(path), may_be_missing=False):
                _sync_folder(os.path.dirname(self.uri(path)))
        return is_new

    def _change(
        self,
        create: Sequence[tuple[str, bytes]],
        replace: Sequence[tuple[str, bytes]],
        remove: Sequence[str],
    ) -> None:
        self._create_all(create)
        for path, payload in replace:
            self._replace(path, payload)
        for path in remove:
            self._remove(path)

    def _create_all(self, files: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Which of the files were created; their bytes are on disk then."""
        with ExitStack() as drafts:
            opened = [drafts.enter_context(self._draft(path, payload)) for path, payload in files]
            self._wait_for_disk(opened)
            return [
                _linked(draft.name, self.uri(path)) for draft, (path, _) in zip(opened, files, strict=True)
            ]

    def _wait_for_disk(self, files: Sequence[BinaryIO]) -> None:
        """Wait until the bytes of files are on disk: waits that begin together mostly end together."""
        handles = [file.fileno() for file in files]
        waiting = [self._syncing.submit(os.fsync, handle) for handle in handles[1:]]
        try:
            for handle in handles[:1]:
                os.fsync(handle)
        finally:
            # No handle is closed while a thread uses it.
            wait(waiting)
        for one in waiting:
            one.result()

    def _replace(self, path: str, payload: bytes) -> None:
        with self._draft(path, payload) as draft:
            os.replace(draft.name, self.uri(path))

    @contextmanager
    def _draft(self, path: str, payload: bytes) -> Iterator[BinaryIO]:
        """A neighbour of a file that holds its bytes, gone after the body. Raises `ArtifactStoreError`."""
        uri = self.uri(path)
        draft = f"{uri}#{uuid4().int}"
        with reported(uri, may_be_missing=False):
            _make_folder(os.path.dirname(uri))
            try:
                with open(draft, "xb") as file:
                    file.write(payload)
                    file.flush()
                    yield file
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft)

    def _remove(self, path: str) -> None:
        with reported(self.uri(path)), suppress(FileNotFoundError):
            os.unlink(f"{self.root}/{path}")

    def _read(self, path: str) -> tuple[bytes, str]:
        """Its bytes, and its signature from before they were read."""
        uri = self.uri(path)
        try:
            file, status = open_regular(uri)
            try:
                if status.st_size > most_bytes(path):
                    raise too_large(uri, status.st_size)
                return read_whole(file, status.st_size), _signature_of(status)
            finally:
                os.close(file)
        except IrregularFile as error:
            raise ArtifactCorrupt(
                f"{uri} is no regular file, but a folder, a link or a pipe; take it away", uri=uri
            ) from error
        except OSError as error:
            raise translated(error, uri) from error

    def _signature(self, path: str) -> str:
        uri = self.uri(path)
        try:
            return _signature_of(os.stat(uri))
        except OSError as error:
            raise translated(error, uri) from error

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(f"{self.root}/{folder}")
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise _no_folder(self.uri(folder)) from error

    def _walk(self, folder: str) -> Iterator[StoredFile]:
        folders = [folder]
        while folders:
            below = folders.pop()
            for entry in self._entries(below):
                path = f"{below}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    is_leftover = bool(_LEFTOVER.search(entry.name))
                    yield StoredFile(
                        path, status.st_size, status.st_mtime, _signature_of(status), is_leftover
                    )

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self.root}/{folder}") as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise _no_folder(self.uri(folder)) from error


def _linked(draft: str, uri: str) -> bool:
    """Whether a draft became the file: of many that link at once one wins, and its file is whole."""
    with reported(uri, may_be_missing=False):
        try:
            os.link(draft, uri)
        except FileExistsError:
            return False
    return True


def _no_folder(uri: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"{uri} is no folder; take away what stands in its place", uri=uri)


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


def _signature_of(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
