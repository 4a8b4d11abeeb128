"""The files of a run as one process reaches them; each step of a write can be its last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from seamless_assets.adapters.artifacts.files import PROBE, Take
from seamless_assets.adapters.artifacts.scan import MAX_BYTES
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.releases.artifact import StoredFile
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.testing import InMemoryFiles
from seamless_assets.testing.artifact_store import signatures_of
from seamless_assets_tests.simulation.faults import Channel, FaultInjector
from seamless_assets_tests.simulation.process import Process

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class StagedFiles(InMemoryFiles):
    """Files that are written beside their place first; who dies in between leaves that there."""

    leftovers: dict[str, float] = field(default_factory=dict)

    def below(self, prefix: str, after: str | None) -> list[StoredFile]:
        """The leftovers below a folder."""
        return [
            StoredFile(path, 0, at, path, is_leftover=True)
            for path, at in self.leftovers.items()
            if path.startswith(f"{prefix}/") and path > (after or "")
        ]


class FaultyFiles:
    """Satisfies the artifact store's `Files`."""

    kind = "memory"

    def __init__(
        self, files: StagedFiles, process: Process, injector: FaultInjector, *, is_near: bool
    ) -> None:
        self.is_near = is_near
        self.root = files.root
        self._files = files
        self._process = process
        self._channel = Channel(process, injector, "files", ArtifactStoreError)
        self._written = 0

    def uri(self, path: str) -> str:
        return self._files.uri(path)

    async def create(self, path: str, payload: bytes) -> bool:
        self._written += 1
        beside = f"{path}#{self._process.name}{self._written}"
        try:
            await self._channel.call("stage", lambda: self._stage(beside))
            return await self._channel.call("create", lambda: self._publish(beside, path, payload))
        finally:
            if self._process.is_alive:
                self._files.leftovers.pop(beside, None)

    async def read(self, path: str) -> bytes:
        return await self._channel.ask("read", lambda: self._files.read(path))

    async def exists(self, path: str, beside: str) -> bool:
        return await self._channel.ask("exists", lambda: self._files.exists(path, beside))

    async def is_there(self, path: str) -> bool:
        return await self._channel.ask("is_there", lambda: self._files.is_there(path))

    def is_there_now(self, path: str) -> bool | None:
        return self._files.is_there_now(path)

    async def read_all(self, paths: Sequence[str]) -> list[bytes]:
        return [await self.read(path) for path in paths]

    async def load(self, groups: Sequence[Sequence[str]], take: Take[T], finish: Callable[[T], U]) -> list[U]:
        loaded = []
        for number, paths in enumerate(groups):
            payloads = await self.read_all(paths)
            loaded.append(finish(take(number, payloads, signatures_of(paths, payloads))))
        return loaded

    async def keep(self, written: Sequence[tuple[str, bytes]]) -> None:
        return None

    async def list_files(self, prefix: str, after: str | None = None) -> list[StoredFile]:
        async def listed() -> list[StoredFile]:
            found = await self._files.list_files(prefix, after)
            return sorted([*found, *self._files.below(prefix, after)], key=lambda file: file.path)

        return await self._channel.ask("list", listed)

    async def list_paths(self, folder: str, after: str | None = None) -> list[str]:
        return [file.path for file in await self.list_files(folder, after)]

    async def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            await self._channel.call("remove", lambda path=path: self._remove(path))

    async def signatures(self, paths: Sequence[str]) -> list[str]:
        return await self._channel.ask("signatures", lambda: self._files.signatures(paths))

    async def probe(self) -> None:
        await self.create(PROBE, b"probe")

    async def _stage(self, beside: str) -> None:
        self._files.leftovers[beside] = self._files.clock.now()

    async def _publish(self, beside: str, path: str, payload: bytes) -> bool:
        self._files.leftovers.pop(beside, None)
        return await self._files.create(path, payload)

    async def _remove(self, path: str) -> None:
        self._files.leftovers.pop(path, None)
        await self._files.remove([path])


class FaultyArtifactStore(ArtifactStore):
    """The real artifact store of one process on the files that all share.

    With `near_bytes` they are as near as a folder's, and the process keeps so much of what it read.
    """

    def __init__(
        self, files: StagedFiles, process: Process, injector: FaultInjector, near_bytes: int | None = None
    ) -> None:
        faulty = FaultyFiles(files, process, injector, is_near=near_bytes is not None)
        super().__init__(files.root, files=faulty, max_bytes=MAX_BYTES if near_bytes is None else near_bytes)
