"""Release logs in memory: read once, verified as one chain, and then read on from where they end.

Of a long log that was proven before and is as it was then, its checkpoint says what is in force at its end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seamless_assets.adapters.artifacts import log_checkpoint, log_copy
from seamless_assets.adapters.artifacts.files import Files, listed_or_none
from seamless_assets.adapters.artifacts.heads import SeenHeads
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.aio.collector import collector_paused
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.log import Head, ReleaseLog
from seamless_assets.core.releases.release import LOG_FOLDER, Release, record_number, record_path
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import ArtifactCorrupt

WORTH_COPYING = 16
"""Records that are fetched at once before the copy of a log is written anew."""
WORTH_A_CHECKPOINT = 100
"""Artifacts that the records of a log name before it takes longer to prove them than to read a checkpoint."""
READ_AT_ONCE = 256
"""Records whose bytes are held at once where a log is read from its beginning."""


@dataclass(slots=True)
class _Read:
    """A log that is read, how many of its records were fetched, and all of them where a copy may be kept."""

    log: ReleaseLog
    is_copied: bool
    fetched: int = 0
    kept: log_copy.Records = field(default_factory=dict)


class LogReader:
    """Reads logs from `files`; `copies` holds checkpoints, and spares a bucket the records that were read.

    `heads` remember where logs ended.
    """

    def __init__(self, files: Files, copies: CopyFolder | None, heads: SeenHeads | None = None) -> None:
        self._files, self._heads = files, heads
        self._copies = None if files.is_near else copies
        self._checkpoints = copies
        self._ends: dict[NodeId, Snapshot | None] = {}
        self._logs: dict[NodeId, ReleaseLog] = {}
        self._reading: defaultdict[NodeId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self, node: NodeId, folder: str) -> ReleaseLog:
        """The log below a node's folder as it is now. Raises `ArtifactCorrupt`, `ArtifactStoreError`."""
        while True:
            log = self._log_of(node)
            known = len(log.releases)
            records = await self._records_after(folder, known)
            if not records:
                return log
            async with self._reading[node]:
                # Another read of this log may have been quicker.
                if self._log_of(node) is log and len(log.releases) == known:
                    self._logs[node] = await self._read_on(log, folder, records)
                    await self._remember(self._logs[node], folder)

    async def load_snapshot(
        self, node: NodeId, folder: str, as_of: str | None, fingerprint: str | None
    ) -> Snapshot:
        """The snapshot after the last record at or before `as_of` that has the dataset `fingerprint`.

        Raises like `load`, which is spared where the log is as it was when it was proven and it is its end
        that is asked for.
        """
        end = None if node in self._logs else await self._proven_end(node, folder)
        if end is not None and _is_wanted(end, as_of, fingerprint):
            return end
        return (await self.load(node, folder)).snapshot(as_of, fingerprint)

    def snapshot_at_hand(
        self, node: NodeId, folder: str, as_of: str | None, fingerprint: str | None
    ) -> Snapshot | None:
        """The same where no record of the log need be read and nothing waited for; None else."""
        log, end = self._logs.get(node), self._ends.get(node)
        end_release = end.release if end is not None else None
        newest = log.newest if log is not None else end_release
        if newest is None:
            return None
        following, last = (f"{folder}/{record_path(newest.seq + step)}" for step in (1, 0))
        if self._files.is_there_now(following) is not False or not self._files.is_there_now(last):
            return None
        if log is not None:
            return log.snapshot(as_of, fingerprint)
        return end if end is not None and _is_wanted(end, as_of, fingerprint) else None

    async def add(self, node: NodeId, folder: str, release: Release) -> None:
        """Add a record that was just written, so that it need not be read, where it follows what is known."""
        async with self._reading[node]:
            log = self._log_of(node)
            if len(log.releases) == release.seq - 1:
                log.extend([release], self._files.uri(f"{folder}/{LOG_FOLDER}"))
                await self._remember(log, folder)

    async def last_seen(self, folder: str) -> Head | None:
        """The last record of a log that was seen before."""
        return await asyncio.to_thread(self._heads.load, self._files.uri(folder)) if self._heads else None

    def _log_of(self, node: NodeId) -> ReleaseLog:
        """The log in memory, an empty one where nothing was read of it yet."""
        log = self._logs.get(node)
        if log is None:
            log = self._logs[node] = ReleaseLog(str(node))
        return log

    async def _proven_end(self, node: NodeId, folder: str) -> Snapshot | None:
        """What is in force at the end of a log by its checkpoint, while no record follows."""
        if node not in self._ends:
            async with self._reading[node]:
                if node not in self._ends:
                    self._ends[node] = await self._from_checkpoint(node, folder)
        end = self._ends[node]
        if end is None or end.release is None:
            return None
        following, last = (f"{folder}/{record_path(end.release.seq + step)}" for step in (1, 0))
        if await self._files.exists(following, last):
            self._ends[node] = None
            return None
        return end

    async def _from_checkpoint(self, node: NodeId, folder: str) -> Snapshot | None:
        if self._checkpoints is None:
            return None
        uri = self._files.uri(folder)
        body = await asyncio.to_thread(self._checkpoints.load, log_checkpoint.checkpoint_name(uri))
        if body is None:
            return None
        return log_checkpoint.from_bytes(body, node, uri, await self._listed(folder, None))

    async def _remember(self, log: ReleaseLog, folder: str) -> None:
        if self._heads is not None:
            await asyncio.to_thread(self._heads.remember, self._files.uri(folder), log)

    async def _read_on(self, log: ReleaseLog, folder: str, records: Mapping[str, str]) -> ReleaseLog:
        """The log and the records that follow what it knows; it is another where it knew nothing."""
        is_new = log.newest is None
        held = await self._copied(folder) if is_new else {}
        # A log that others read meanwhile grows by all of it at once, or not at all.
        at_once = READ_AT_ONCE if is_new else len(records)
        try:
            read = self._begun(log)
            await self._extend(read, folder, records, held, at_once)
        except ArtifactCorrupt:
            # Bytes can be damaged on their way, or in a copy; what the store sends now decides.
            read = self._begun(log)
            await self._extend(read, folder, records, {}, at_once)
        if read.is_copied and read.fetched >= WORTH_COPYING:
            self._keep(folder, read.kept)
        if is_new and read.log.added >= WORTH_A_CHECKPOINT:
            self._keep_checkpoint(folder, read.log.snapshot(), records)
        return read.log

    def _begun(self, log: ReleaseLog) -> _Read:
        """A log to read into: a known one itself, and for one that knows nothing another."""
        is_new = log.newest is None
        return _Read(ReleaseLog(log.node_id) if is_new else log, is_new and self._copies is not None)

    async def _extend(
        self, read: _Read, folder: str, records: Mapping[str, str], held: log_copy.Records, at_once: int
    ) -> None:
        """Add records to a log, so many at a time, from `held` where that has them as they are."""
        paths = list(records)
        for at in range(0, len(paths), at_once):
            some = paths[at : at + at_once]
            lacking = [path for path in some if path not in held or held[path][0] != records[path]]
            found = {path: held[path] for path in some if path in held}
            found.update(await self._fetched(records, lacking))
            with collector_paused():
                fresh = [Release.from_json(found[path][1], self._files.uri(path)) for path in some]
                read.log.extend(fresh, self._files.uri(f"{folder}/{LOG_FOLDER}"))
            read.fetched += len(lacking)
            if read.is_copied:
                read.kept.update((path, found[path]) for path in some)

    async def _fetched(self, records: Mapping[str, str], lacking: Sequence[str]) -> log_copy.Records:
        payloads = zip(lacking, await self._files.read_all(lacking), strict=True)
        return {path: (records[path], payload) for path, payload in payloads}

    async def _records_after(self, folder: str, known: int) -> Mapping[str, str]:
        """The records that follow the known ones, by path, with their signatures where anything may be kept.

        One question answers that there are none.
        """
        following, last = (f"{folder}/{record_path(seq)}" for seq in (known + 1, known))
        if known and not await self._files.exists(following, last):
            return {}
        after = last if known else None
        return await listed_or_none(self._files, lambda: self._listed(folder, after), following)

    async def _listed(self, folder: str, after: str | None) -> Mapping[str, str]:
        where, below = f"{folder}/{LOG_FOLDER}", len(folder) + 1
        if self._copies is not None:
            files = await self._files.list_files(where, after)
            return {
                file.path: file.signature for file in files if record_number(file.path[below:]) is not None
            }
        # A folder shows in this way what stands in the place of a record.
        paths = await self._files.list_paths(where, after)
        records = [path for path in paths if record_number(path[below:]) is not None]
        signatures = await self._files.signatures(records) if self._checkpoints else [""] * len(records)
        return dict(zip(records, signatures, strict=True))

    async def _copied(self, folder: str) -> log_copy.Records:
        if self._copies is None:
            return {}
        name = log_copy.copy_name(self._files.uri(folder))
        return log_copy.from_bytes(await asyncio.to_thread(self._copies.load, name))

    def _keep(self, folder: str, records: log_copy.Records) -> None:
        if self._copies is not None:
            name = log_copy.copy_name(self._files.uri(folder))
            self._copies.keep_soon([(name, lambda: log_copy.to_bytes(records))])

    def _keep_checkpoint(self, folder: str, end: Snapshot, records: Mapping[str, str]) -> None:
        if self._checkpoints is not None:
            name = log_checkpoint.checkpoint_name(self._files.uri(folder))
            self._checkpoints.keep_soon([(name, lambda: log_checkpoint.to_bytes(end, records))])


def _is_wanted(end: Snapshot, as_of: str | None, fingerprint: str | None) -> bool:
    """Whether the end of a log is what is known at `as_of`, and has the `fingerprint`."""
    release = end.release
    return (
        release is not None
        and (as_of is None or release.as_of <= as_of)
        and fingerprint in (None, release.dataset_fingerprint)
    )
