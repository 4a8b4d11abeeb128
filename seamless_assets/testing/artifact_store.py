"""Artifacts in memory: the real artifact store on files that are entries of a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from seamless_assets.adapters.artifacts.files import PROBE, Take
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError
from seamless_assets.flows.ports import Clock
from seamless_assets.testing.clock import ManualClock

T = TypeVar("T")
U = TypeVar("U")
ROOT = "memory"


def signatures_of(paths: Sequence[str], payloads: Sequence[bytes]) -> list[str]:
    """The signatures of files with these bytes."""
    return [f"{len(payload)} {path}" for path, payload in zip(paths, payloads, strict=True)]


@dataclass
class InMemoryFiles:
    """Files by path, whole or not there. `on_change` hears the path of each that is made or removed.

    While they are `is_away` every call raises `ArtifactStoreError`.
    """

    clock: Clock = field(default_factory=ManualClock)
    held: dict[str, bytes] = field(default_factory=dict)
    made_at: dict[str, float] = field(default_factory=dict)
    is_away: bool = False
    on_change: Callable[[str], None] = lambda _path: None
    kind: str = "memory"
    root: str = ROOT
    is_near: bool = False

    def uri(self, path: str) -> str:
        """Where a file is."""
        return f"{self.root}/{path}"

    async def create(self, path: str, payload: bytes) -> bool:
        """Write a file that is not there yet; False where one is."""
        await self._answer()
        if path in self.held:
            return False
        self.held[path], self.made_at[path] = payload, self.clock.now()
        self.on_change(path)
        return True

    async def change(
        self,
        create: Sequence[tuple[str, bytes]],
        replace: Sequence[tuple[str, bytes]],
        remove: Sequence[str],
    ) -> None:
        """Write files that are not there yet, then files over what is there, and remove others."""
        for path, payload in create:
            await self.create(path, payload)
        for path, payload in replace:
            await self.replace(path, payload)
        await self.remove(remove)

    async def replace(self, path: str, payload: bytes) -> None:
        """Write a file, over what is there."""
        await self._answer()
        self.held[path], self.made_at[path] = payload, self.clock.now()
        self.on_change(path)

    async def read(self, path: str) -> bytes:
        """Its bytes. Raises `ArtifactMissing`."""
        await self._answer()
        if path not in self.held:
            raise ArtifactMissing(f"{self.uri(path)} is not there", uri=self.uri(path))
        return self.held[path]

    async def exists(self, path: str, beside: str) -> bool:
        """Whether there is such a file."""
        await self._answer()
        return path in self.held

    async def is_there(self, path: str) -> bool:
        """Whether there is such a file."""
        await self._answer()
        return path in self.held

    def is_there_now(self, path: str) -> bool | None:
        """The same, said to any thread; None while they are away."""
        return None if self.is_away else path in self.held

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """The bytes of each. Raises `ArtifactMissing`."""
        return [await self.read(path) for path in paths]

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        """What `take`, and then `finish`, make of each group of files."""
        loaded = []
        for number, paths in enumerate(groups):
            payloads = await self.read_all(paths)
            loaded.append(finish(take(number, payloads, signatures_of(paths, payloads))))
        return loaded

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Nothing: they are at hand."""

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        """Their sizes and paths: no file ever changes."""
        return signatures_of(paths, await self.read_all(paths))

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        """Files below `prefix` (of names later than `after`), in order of their paths."""
        await self._answer()
        return [
            StoredFile(path, len(self.held[path]), self.made_at[path], path)
            for path in sorted(self.held)
            if path.startswith(f"{prefix}/") and path > (after or "")
        ]

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        """Paths of the files in a folder (later than `after`), ascending."""
        return [file.path for file in await self.list_files(folder, after)]

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        await self._answer()
        for path in paths:
            if self.held.pop(path, None) is not None:
                del self.made_at[path]
                self.on_change(path)

    async def probe(self) -> None:
        """Write a small file."""
        await self.create(PROBE, b"probe")

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise ArtifactStoreError("the artifacts in memory are away, because a test said so")


class InMemoryArtifactStore(ArtifactStore):
    """The real artifact store on `files`; stores on the same files are several machines on one bucket."""

    def __init__(self, files: InMemoryFiles | None = None) -> None:
        self.files = files or InMemoryFiles()
        super().__init__(self.files.root, files=self.files)
