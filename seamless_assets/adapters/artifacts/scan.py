"""Released bars of many artifacts, proven and in one block of memory, and cached for who asks again."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from cachetools import LRUCache
from cachetools.keys import hashkey

from seamless_assets.adapters.artifacts.files import Files
from seamless_assets.adapters.artifacts.proof import ProvenFile, fill_bars, proven_file, proven_manifest
from seamless_assets.aio.collector import collector_paused
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.bars.cells import bars_of, empty_cells
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.scan import Scan, scan_of

BATCH_ROWS = 50_000
"""About so many bars are loaded from the store at a time: a month of minutes."""
MAX_BYTES = 256_000_000
"""What a process keeps of scans where nobody says how much: ten years of minutes, of 48 bytes each."""
GAP_BYTES, FILE_BYTES = 160, 400
"""About what a gap takes of memory, and the path and signature of a file."""
CHECK_EACH_TIME = 32
"""Up to so many artifacts the files of a folder are checked at each read, else once a second."""


_Key = tuple[Hashable, ...]
"""A node's folder, and the artifacts in order; of many a hash takes long, so it is made once for a load."""


@dataclass(frozen=True, slots=True)
class _ArtifactSlice:
    """An artifact to load: its two files, and where in the cells of the scan its bars belong."""

    ref: ArtifactRef
    paths: tuple[str, str]
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.ref.rows


@dataclass(frozen=True, slots=True)
class _Batch:
    """Artifacts side by side, verified and not decoded yet, and the signatures of their files."""

    slices: Sequence[_ArtifactSlice]
    files: list[ProvenFile]
    manifests: list[Manifest]
    signatures: Sequence[str]


@dataclass(slots=True, eq=False)
class _CachedScan:
    """A scan in memory, the paths it came from, and their signatures as they were when it was verified.

    `checked_at` is when they were last found to be those.
    """

    scan: Scan
    paths: list[str]
    signatures: list[str]
    checked_at: float

    @property
    def nbytes(self) -> int:
        """About what it takes of memory."""
        scan = self.scan
        return int(scan.bars.nbytes) + GAP_BYTES * len(scan.gaps) + FILE_BYTES * len(self.paths)


class ScanReader:
    """Reads scans from `files`, each once for all who want it at one time, and keeps up to `max_bytes`.

    A scan that is larger than that alone is not cached. Callers share one event loop.
    """

    def __init__(self, files: Files, max_bytes: int = MAX_BYTES) -> None:
        self._files = files
        self._cache: LRUCache[_Key, _CachedScan] = LRUCache(max_bytes, getsizeof=attrgetter("nbytes"))
        self._flights = SingleFlight(time.monotonic, math.inf)

    async def load(self, node: NodeId, folder: str, refs: Sequence[ArtifactRef]) -> Scan:
        """Bars, gaps and flags of artifacts in order. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        key: _Key = hashkey(folder, *refs)
        # What is cached may be let go, and loaded anew by others, wherever this waits.
        while (cached := self._cache.get(key)) is not None:
            if await self._is_unchanged(key, cached):
                return cached.scan
            if self._cache.get(key) is cached:
                del self._cache[key]
        return await self._flights.do(
            ("load", key), lambda: self._load_and_cache(key, node, _slices(folder, refs))
        )

    async def _load_and_cache(self, key: _Key, node: NodeId, slices: Sequence[_ArtifactSlice]) -> Scan:
        cached = await self._load(node, _batches(slices))
        if cached.nbytes <= self._cache.maxsize:
            self._cache[key] = cached
        return cached.scan

    async def _load(self, node: NodeId, batches: Sequence[Sequence[_ArtifactSlice]]) -> _CachedScan:
        began, cells = time.monotonic(), empty_cells(batches[-1][-1].stop if batches else 0)

        def prove(number: int, payloads: Sequence[bytes], signatures: Sequence[str]) -> _Batch:
            slices, files, manifests = batches[number], [], []
            # Each gap is an object that stays: of a node with many the collector would take longer than all
            # else of a read.
            with collector_paused():
                for part, file, manifest in zip(slices, payloads[::2], payloads[1::2], strict=True):
                    uris = [self._files.uri(path) for path in part.paths]
                    files.append(proven_file(uris[0], file, node, part.ref))
                    manifests.append(proven_manifest(uris[1], manifest, node, part.ref))
            return _Batch(slices, files, manifests, signatures)

        def decode(batch: _Batch) -> tuple[list[Manifest], Sequence[str]]:
            block = cells[:, batch.slices[0].start : batch.slices[-1].stop]
            fill_bars(block, node, batch.files, batch.manifests)
            return batch.manifests, batch.signatures

        groups = [[path for part in batch for path in part.paths] for batch in batches]
        loaded = await self._files.load(groups, prove, decode)
        scan = scan_of([manifest for manifests, _ in loaded for manifest in manifests], bars_of(cells))
        paths = [path for group in groups for path in group]
        return _CachedScan(scan, paths, [known for _, signatures in loaded for known in signatures], began)

    async def _is_unchanged(self, key: _Key, cached: _CachedScan) -> bool:
        """Whether the files of a folder are still those that were verified; buckets are trusted for that."""
        if not self._files.is_near:
            return True
        if len(cached.signatures) <= 2 * CHECK_EACH_TIME:
            return await self._files.signatures(cached.paths) == cached.signatures
        if time.monotonic() - cached.checked_at < 1.0:
            return True
        return await self._flights.do(("check", key, id(cached)), lambda: self._check_again(cached))

    async def _check_again(self, cached: _CachedScan) -> bool:
        began = time.monotonic()
        if await self._files.signatures(cached.paths) != cached.signatures:
            return False
        cached.checked_at = began
        return True


def _slices(folder: str, refs: Sequence[ArtifactRef]) -> list[_ArtifactSlice]:
    starts = accumulate((ref.rows for ref in refs), initial=0)
    return [
        _ArtifactSlice(ref, (f"{folder}/{ref.file_path}", f"{folder}/{ref.manifest_path}"), start)
        for ref, start in zip(refs, starts, strict=False)
    ]


def _batches(slices: Sequence[_ArtifactSlice]) -> list[Sequence[_ArtifactSlice]]:
    """Cut into groups of up to `BATCH_ROWS`; a larger artifact stands alone."""
    found, first = [], 0
    for at, part in enumerate(slices):
        if at > first and part.stop - slices[first].start > BATCH_ROWS:
            found.append(slices[first:at])
            first = at
    return [*found, slices[first:]] if slices else []
