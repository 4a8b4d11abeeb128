"""Files of a folder or a bucket: each is whole or not there, and none of a log is ever written over.

Both kinds answer the same calls; paths are relative to the root and use `/`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactCorrupt, ArtifactMissing, ArtifactStoreError

T = TypeVar("T")
U = TypeVar("U")
C = TypeVar("C", bound=Sized)
Take = Callable[[int, Sequence[bytes], Sequence[str]], T]
"""What is made of a group of files: its number, their bytes, their signatures."""
PROBE = "_probe"
"""Written over at each look at the store; beside it only hints of mirrors are."""
_LONG_STORY = "\n\nDebug source"
"""Behind this the client says once more what it said."""


class Files(Protocol):
    """What a folder and a bucket have in common.

    `is_near` says whether a question costs next to nothing.
    """

    kind: str
    root: str
    is_near: bool

    def uri(self, path: str) -> str:
        """Where a file is."""

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is. Raises `ArtifactStoreError`."""

    async def change(
        self,
        create: Sequence[tuple[str, bytes]],
        replace: Sequence[tuple[str, bytes]],
        remove: Sequence[str],
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others.

        Of the new ones the last comes after the others: whoever finds it finds what it names. Raises
        `ArtifactStoreError`.
        """

    async def replace(self, path: str, payload: bytes) -> None:
        """Write a file whole, over what is there. Raises `ArtifactStoreError`."""

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`."""

    async def is_there(self, path: str) -> bool:
        """Whether there is such a file, in a store that is known to be there. Raises `ArtifactStoreError`."""

    def is_there_now(self, path: str) -> bool | None:
        """The same, said at once and to any thread; None where somebody has to be asked."""

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each. Raises like `read`."""

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files, in threads. Raises like `read`.

        While one group is finished the next is read.
        """

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Have what was just written there at hand, where it would take long to read it again."""

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """What changes when a file does, of each; it begins with its size. Raises like `read`."""

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        """Paths of the files right in a folder (later than `after`), ascending; no more is asked of them."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def probe(self) -> None:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""


MAX_BYTES = 1 << 30
"""No artifact is larger: a year of seconds takes half of it."""
MAX_RECORD_BYTES = 64 << 20
"""Neither is a manifest or a record of a log."""


def size_in(signature: str) -> int:
    """The size of a file (bytes), which its signature begins with."""
    return int(signature.partition(" ")[0])


def most_bytes(path: str) -> int:
    """The most that is read of a file of this name."""
    return MAX_RECORD_BYTES if path.endswith(".json") else MAX_BYTES


def too_large(uri: str, size: int) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"{uri} is of {size} bytes, more than any file of its kind; restore it", uri=uri)


@contextmanager
def reported(uri: str, *, may_be_missing: bool = True) -> Iterator[None]:
    """Errors of the store in our words."""
    try:
        yield
    except OSError as error:
        raise translated(error, uri, may_be_missing=may_be_missing) from error


def missing(uri: str) -> ArtifactMissing:
    return ArtifactMissing(f"{uri} is not there; it was removed or never written", uri=uri)


def translated(error: Exception, uri: str, *, may_be_missing: bool = True) -> ArtifactStoreError:
    if may_be_missing and isinstance(error, FileNotFoundError):
        return missing(uri)
    return ArtifactStoreError(f"artifact store cannot reach {uri}: {in_short(error)}", uri=uri)


def in_short(error: Exception) -> str:
    """What an error says, without what its client says twice."""
    return str(error).partition(_LONG_STORY)[0]


async def listed_or_none(files: Files, listing: Callable[[], Awaitable[C]], first: str) -> C:
    """What a `listing` shows; where that is nothing, the file `first`, which it would show, is not there.

    A page of a proxy or a login form counts as an empty listing, and so does that of another bucket. Raises
    `ArtifactStoreError` where a listing does not show what is there.
    """
    found = await listing()
    if found or not await files.is_there(first):
        return found
    found = await listing()
    if not found:
        folder, name = os.path.split(first)
        raise ArtifactStoreError(
            f"the listing of {files.uri(folder)} does not show {name}, and it is there: what answers is no "
            "object store, or another bucket; check the endpoint, proxies and the bucket's name",
            uri=files.uri(first),
        )
    return found


def refuse_changed(uri: str, held: bytes, written: bytes) -> None:
    """Raise `ArtifactStoreError` where what was just written is not what is read."""
    if held != written:
        raise ArtifactStoreError(f"{uri} does not hold what was just written there", uri=uri)
