"""Released bars of many artifacts in one block of memory: from local copies where they hold what the log
promises, else from the store, and then copied."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np

from seamless_assets._together import together
from seamless_assets.adapters.artifact_proof import proven_bars, proven_manifest
from seamless_assets.adapters.copy_folder import CopyFolder
from seamless_assets.adapters.object_files import Files
from seamless_assets.adapters.segment_copy import SegmentCopy, copy_name
from seamless_assets.core.artifact import ArtifactRef, Manifest, SealedArtifact
from seamless_assets.core.cells import bars_of, canonical_cells, empty_cells, fill_cells
from seamless_assets.core.fingerprint import fingerprint_of_cells
from seamless_assets.core.node import NodeId
from seamless_assets.core.run import Run, run_of
from seamless_assets.errors import ArtifactCorrupt

BATCH_ROWS = 50_000
"""About so many bars are loaded from the store at a time: a month of minutes."""
KEPT_RUNS, KEPT_ROWS = 16, 6_000_000
"""Runs that a process holds in memory, and their bars together, of 48 bytes each."""
LOOK_EACH_TIME = 32
"""Up to so many artifacts the files of a folder are looked at again at each read, else once a second."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An artifact to load: its two files, its copy, and where in the cells of the run its bars belong."""

    ref: ArtifactRef
    paths: tuple[str, str]
    copy: str
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.ref.rows


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An artifact whose cells are filled; `fresh` is what to keep of it where there is no good copy yet."""

    manifest: Manifest
    signatures: list[str]
    fresh: SegmentCopy | None = None


@dataclass(slots=True)
class _Kept:
    """A run in memory, the paths it came from, and their signatures as they were when it was verified."""

    run: Run
    paths: list[str]
    signatures: list[str]
    looked: float


class RunReader:
    """Reads runs from `files`; `copies` spares it what was read or published here before."""

    def __init__(self, files: Files, copies: CopyFolder | None) -> None:
        self._files, self._copies = files, copies
        self._loading = asyncio.Semaphore(files.runs_at_once)
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()

    async def load(self, node: NodeId, folder: str, refs: Sequence[ArtifactRef]) -> Run:
        """Bars, gaps and flags of artifacts in order. Raises `ArtifactMissing`, `ArtifactCorrupt`."""
        key = tuple([ref.manifest_sha256 for ref in refs])
        kept = self._kept.get(key)
        if kept is not None and await self._is_unchanged(kept):
            self._kept.move_to_end(key)
            return kept.run
        cells = empty_cells(sum(ref.rows for ref in refs))
        places = _places(folder, refs)
        loaded = await self._load_all(node, places, cells)
        run = run_of([one.manifest for one in loaded], bars_of(cells))
        paths = [path for place in places for path in place.paths]
        signatures = [signature for one in loaded for signature in one.signatures]
        self._kept[key] = _Kept(run, paths, signatures, time.monotonic())
        self._let_go()
        if self._copies is not None:
            pairs = zip(places, loaded, strict=True)
            self._copies.keep_soon([(place.copy, one.fresh.to_bytes) for place, one in pairs if one.fresh])
        return run

    async def keep_sealed(self, ref: ArtifactRef, paths: tuple[str, str], artifact: SealedArtifact) -> None:
        """Copy an artifact that was just written under these paths."""
        if self._copies is None:
            return
        signatures = await self._files.signatures(paths)
        copy = SegmentCopy(canonical_cells(artifact.bars), artifact.manifest.to_json(), signatures)
        # What nobody has read yet does not drive out what somebody did.
        self._copies.keep_soon([(copy_name(ref), copy.to_bytes)], may_evict=False)

    async def _load_all(self, node: NodeId, places: Sequence[_Place], cells: np.ndarray) -> list[_Loaded]:
        found = await self._load_copies(node, places, cells)
        works = []
        for is_copied, group in groupby(places, lambda place: place.paths in found):
            works += [] if is_copied else [self._load_stored(batch, cells) for batch in _batches(list(group))]
        stored = iter([one for batch in await together(works) for one in batch])
        return [found.get(place.paths) or next(stored) for place in places]

    async def _load_copies(
        self, node: NodeId, places: Sequence[_Place], cells: np.ndarray
    ) -> dict[tuple[str, str], _Loaded]:
        """What good copies there are, by their paths; their bars are written into the cells."""
        copies = self._copies
        if copies is None or not (held := [place for place in places if copies.holds(place.copy)]):
            return {}
        signatures = await self._files.signatures([path for place in held for path in place.paths])

        def load(first: int, last: int) -> dict[tuple[str, str], _Loaded]:
            found = {}
            for at in range(first, last):
                place = held[at]
                copy = SegmentCopy.from_bytes(copies.load(place.copy), place.ref.rows)
                known = signatures[2 * at : 2 * at + 2]
                if copy is not None and copy.signatures == known:
                    manifest = _proven(node, place, copy)
                    if manifest is not None:
                        cells[:, place.start : place.stop] = copy.cells
                        found[place.paths] = _Loaded(manifest, known)
            return found

        # While one thread hashes, another can read; more would only wait for each other.
        half = len(held) // 2
        halves = await together(asyncio.to_thread(load, *part) for part in ((0, half), (half, len(held))))
        return halves[0] | halves[1]

    async def _load_stored(self, places: Sequence[_Place], cells: np.ndarray) -> list[_Loaded]:
        """Neighbours, verified from the store; their bars are written into the cells."""
        many = len(places)

        def verify(read: Sequence[bytes], known: Sequence[str]) -> list[_Loaded]:
            tables, loaded = [], []
            for at, place in enumerate(places):
                file, manifest = (self._files.uri(path) for path in place.paths)
                tables.append(proven_bars(file, read[at], place.ref))
                told = proven_manifest(manifest, read[many + at], place.ref)
                signatures = [known[at], known[many + at]]
                copy = SegmentCopy(cells[:, place.start : place.stop], read[many + at], signatures)
                loaded.append(_Loaded(told, signatures, copy))
            fill_cells(cells[:, places[0].start : places[-1].stop], tables)
            return loaded

        async with self._loading:
            return await self._files.load([place.paths[at] for at in (0, 1) for place in places], verify)

    def _let_go(self) -> None:
        """Forget the runs longest not asked for that are too many; the newest stays however large."""
        rows = sum(kept.run.bars.num_rows for kept in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > KEPT_RUNS or rows > KEPT_ROWS):
            rows -= self._kept.popitem(last=False)[1].run.bars.num_rows

    async def _is_unchanged(self, kept: _Kept) -> bool:
        """Whether the files of a folder are still those that were verified; buckets are trusted for that."""
        if not self._files.is_near:
            return True
        now = time.monotonic()
        if len(kept.signatures) > 2 * LOOK_EACH_TIME and now - kept.looked < 1.0:
            return True
        kept.looked = now
        return await self._files.signatures(kept.paths) == kept.signatures


def _places(folder: str, refs: Sequence[ArtifactRef]) -> list[_Place]:
    starts = accumulate((ref.rows for ref in refs), initial=0)
    return [
        _Place(ref, (f"{folder}/{ref.file_path}", f"{folder}/{ref.manifest_path}"), copy_name(ref), start)
        for ref, start in zip(refs, starts, strict=False)
    ]


def _batches(neighbours: Sequence[_Place]) -> list[Sequence[_Place]]:
    """Cut into groups of up to `BATCH_ROWS`; a larger artifact stands alone."""
    found, first = [], 0
    for at, place in enumerate(neighbours):
        if at > first and place.stop - neighbours[first].start > BATCH_ROWS:
            found.append(neighbours[first:at])
            first = at
    return [*found, neighbours[first:]]


def _proven(node: NodeId, place: _Place, copy: SegmentCopy) -> Manifest | None:
    """The manifest of a copy that holds what the log promises; None of one that does not."""
    ref = place.ref
    try:
        manifest = proven_manifest(place.paths[1], copy.manifest, ref)
    except ArtifactCorrupt:
        return None
    content = fingerprint_of_cells(
        copy.cells,
        node_id=node,
        interval=node.timeframe,
        conformance_version=manifest.conformance_version,
    )
    return manifest if content == ref.fingerprint else None
