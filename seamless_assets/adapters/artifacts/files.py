"""Files of a folder or a bucket: each is whole or not there, and none is ever written over.

Both kinds answer the same calls; paths are relative to the root and use `/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from obstore.exceptions import BaseError

from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError

T = TypeVar("T")
U = TypeVar("U")
Take = Callable[[int, Sequence[bytes], Sequence[str]], T]
"""What is made of a group of files: its number, their bytes, their signatures."""
PROBE = "_probe"
"""Written over at each look at the store; it is the only file that is."""
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

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`, `ArtifactStoreError`."""

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file, where `beside` is known to be one. Raises `ArtifactStoreError`."""

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each. Raises like `read`."""

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files, in threads. Raises like `read`.

        While one group is finished the next is read.
        """

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Have what was just written there at hand, where it would take long to read it again."""

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """What changes when a file does, of each. Raises like `read`."""

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        """Paths of the files right in a folder (later than `after`), ascending; no more is asked of them."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    async def probe(self) -> None:
        """Write a small file and read it back. Raises `ArtifactStoreError`."""


@contextmanager
def reported(uri: str, advice: str = "", *, may_be_missing: bool = True) -> Iterator[None]:
    """Errors of the store in our words."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise translated(error, uri, advice, may_be_missing=may_be_missing) from error


def missing(uri: str) -> ArtifactMissing:
    return ArtifactMissing(f"{uri} is not there; it was removed or never written", uri=uri)


def translated(
    error: Exception, uri: str, advice: str = "", *, may_be_missing: bool = True
) -> ArtifactStoreError:
    if may_be_missing and isinstance(error, FileNotFoundError):
        return missing(uri)
    told = str(error).partition(_LONG_STORY)[0]
    return ArtifactStoreError(f"artifact store cannot reach {uri}: {told}{advice}", uri=uri)
