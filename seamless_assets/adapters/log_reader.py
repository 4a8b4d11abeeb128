"""Release logs in memory: read once, verified as one chain, and then read on from where they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from seamless_assets.adapters import log_copy
from seamless_assets.adapters.copy_folder import CopyFolder
from seamless_assets.adapters.object_files import Files
from seamless_assets.core.artifact import StoredFile
from seamless_assets.core.node import NodeId
from seamless_assets.core.release import LOG_FOLDER, Release, ReleaseLog, record_number, record_path

WORTH_COPYING = 16
"""Records that are fetched at once before the copy of a log is written anew."""


class LogReader:
    """Reads logs from `files`; `copies` spares a bucket its records that were read before."""

    def __init__(self, files: Files, copies: CopyFolder | None) -> None:
        self._files = files
        self._copies = None if files.is_near else copies
        self._logs: dict[NodeId, ReleaseLog] = {}

    async def load(self, node: NodeId, folder: str) -> ReleaseLog:
        """The log below a node's folder as it is now. Raises `ArtifactCorrupt`, `ArtifactStoreError`."""
        log = self._logs.setdefault(node, ReleaseLog(str(node)))
        while True:
            known = len(log.releases)
            records = await self._records_after(folder, known)
            if not records:
                return log
            copied = await self._copied(folder) if known == 0 else {}
            lacking = [file for file in records if copied.get(file.path, ("",))[0] != file.signature]
            payloads = await self._files.read_all([file.path for file in lacking])
            fetched = zip(lacking, payloads, strict=True)
            copied.update((file.path, (file.signature, payload)) for file, payload in fetched)
            # Another read of this log may have been quicker.
            if len(log.releases) == known:
                named = [(file.path, copied[file.path][1]) for file in records]
                fresh = [Release.from_json(payload, self._files.uri(path)) for path, payload in named]
                log.extend(fresh, self._files.uri(f"{folder}/{LOG_FOLDER}"))
                if known == 0 and len(lacking) >= WORTH_COPYING:
                    self._keep(folder, {file.path: copied[file.path] for file in records})

    async def _records_after(self, folder: str, known: int) -> Sequence[StoredFile]:
        """The records that follow the known ones; one question answers that there are none."""
        if known:
            following, last = (f"{folder}/{record_path(seq)}" for seq in (known + 1, known))
            if not await self._files.exists(following, last):
                return []
        after = f"{folder}/{record_path(known)}" if known else None
        listed = await self._files.list_files(f"{folder}/{LOG_FOLDER}", after)
        return [file for file in listed if record_number(file.path.removeprefix(f"{folder}/")) is not None]

    async def _copied(self, folder: str) -> log_copy.Records:
        if self._copies is None:
            return {}
        name = log_copy.copy_name(self._files.uri(folder))
        return log_copy.from_bytes(await asyncio.to_thread(self._copies.load, name))

    def _keep(self, folder: str, records: log_copy.Records) -> None:
        if self._copies is not None:
            name = log_copy.copy_name(self._files.uri(folder))
            self._copies.keep_soon([(name, lambda: log_copy.to_bytes(records))])
