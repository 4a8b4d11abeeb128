"""The files of a run: whole or not there, in memory, under the real artifact store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from seamless_assets.adapters.artifacts.files import PROBE, Take
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactMissing, ArtifactStoreError
from seamless_assets_tests.simulation.fate import Fate, Wire, Worker

ROOT = "memory"
T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Objects:
    """Files by path, shared by all workers, and when each was made. `on_change` hears of every change."""

    held: dict[str, bytes] = field(default_factory=dict)
    made_at: dict[str, float] = field(default_factory=dict)
    leftovers: dict[str, float] = field(default_factory=dict)
    on_change: Callable[[str], None] = lambda path: None

    def create(self, path: str, payload: bytes, now: float) -> bool:
        """Write a file; False where one is there already."""
        if path in self.held:
            return False
        self.held[path], self.made_at[path] = payload, now
        self.on_change(path)
        return True

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises `ArtifactMissing`."""
        if path not in self.held:
            raise ArtifactMissing(f"{path} is not there", uri=path)
        return self.held[path]

    def list(self, prefix: str, after: str | None) -> list[StoredFile]:
        """Files below the folder `prefix` and later than `after`, by path."""
        found = [StoredFile(path, len(self.held[path]), at, path) for path, at in self.made_at.items()]
        found += [StoredFile(path, 0, at, path, is_leftover=True) for path, at in self.leftovers.items()]
        below = [file for file in found if file.path.startswith(f"{prefix}/") and file.path > (after or "")]
        return sorted(below, key=lambda file: file.path)

    def remove(self, path: str) -> None:
        """Remove a file or a leftover; none there is no error."""
        self.leftovers.pop(path, None)
        if self.held.pop(path, None) is not None:
            del self.made_at[path]
            self.on_change(path)


class Files:
    """The files as one worker reaches them; each call is a choice point, and so is each step of a write."""

    kind = "memory"
    is_near = False
    root = ROOT

    def __init__(self, objects: Objects, worker: Worker, fate: Fate) -> None:
        self._objects = objects
        self._worker = worker
        self._wire = Wire(worker, fate, "files", ArtifactStoreError)
        self._written = 0

    def uri(self, path: str) -> str:
        return f"{ROOT}/{path}"

    async def create(self, path: str, payload: bytes) -> bool:
        now = self._worker.loop.time()
        self._written += 1
        beside = f"{path}#{self._worker.name}{self._written}"
        try:
            await self._wire("stage", lambda: self._objects.leftovers.setdefault(beside, now))
            return await self._wire("create", lambda: self._publish(beside, path, payload))
        finally:
            if self._worker.is_alive:
                self._objects.leftovers.pop(beside, None)

    async def read(self, path: str) -> bytes:
        return await self._wire.look("read", lambda: self._objects.read(path))

    async def exists(self, path: str, beside: str) -> bool:
        return await self._wire.look("exists", lambda: path in self._objects.held)

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        return [await self.read(path) for path in paths]

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        return [
            finish(take(number, await self.read_all(paths), paths)) for number, paths in enumerate(groups)
        ]

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Nothing: it is at hand."""

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        return await self._wire.look("list", lambda: self._objects.list(prefix, after))

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        return [file.path for file in await self.list_files(folder, after)]

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            await self._wire("remove", lambda path=path: self._objects.remove(path))

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        return list(paths)

    async def probe(self) -> None:
        await self.create(PROBE, b"probe")

    def _publish(self, beside: str, path: str, payload: bytes) -> bool:
        self._objects.leftovers.pop(beside, None)
        return self._objects.create(path, payload, self._worker.loop.time())


class StoreInMemory(ArtifactStore):
    """The real artifact store of one worker on shared files in memory."""

    def __init__(self, objects: Objects, worker: Worker, fate: Fate) -> None:
        super().__init__(ROOT, files=Files(objects, worker, fate))
