"""Local copies of released artifacts: their bars as they lie in memory, and their manifests.

A copy is the cells of the bars (see `core.cells`), then a line with the signatures of the files that it was
made of, then the manifest. It is written whole under a name of its own and then renamed, so many processes
may share the folder. It proves nothing of itself: its reader holds it against the release log. It is read
and not mapped into memory, so that what was proven stays so, whatever is done to the file. The least
recently used go first when the folder grows too large.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import COLUMNS
from seamless_assets.core.cells import CELL_BYTES

SUFFIX = ".bars"
_STALE_S = 3_600.0
"""A copy that was not finished by then never will be."""
_SPARE = 16
"""The folder is brought this part below its limit, so that it need not be looked through at each copy."""


@dataclass(frozen=True, slots=True)
class SegmentCopy:
    """Cells of an artifact's bars, its manifest as stored, and the signatures of its files."""

    cells: np.ndarray
    manifest: bytes
    signatures: list[str]


class SegmentCache:
    """Copies in `folder`, at most `max_bytes` of them together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        self._room: int | None = None
        """What may be written until the folder is looked through again; None before it ever was."""

    def holds(self, ref: ArtifactRef) -> bool:
        """Whether there is a copy of this artifact, good or not."""
        return os.path.exists(self._path(ref))

    def load(self, ref: ArtifactRef) -> SegmentCopy | None:
        """What is said to be the copy of this artifact; None where there is none to read."""
        path = self._path(ref)
        try:
            with open(path, "rb", buffering=0) as file:
                body = file.read()
                os.utime(file.fileno())
            return _opened(body, ref.rows)
        except (ValueError, OSError):
            return None

    def keep(self, ref: ArtifactRef, copy: SegmentCopy, *, may_evict: bool = True) -> None:
        """Write a copy, and let go of the oldest above the limit. A full disk is no error of the read.

        One that `may_evict` none is written only where there is room.
        """
        path, body = self._path(ref), _closed(copy)
        draft = f"{path}.{uuid4().hex}.tmp"
        try:
            os.makedirs(self._folder, exist_ok=True)
            if not may_evict and not self._has_room(len(body)):
                return
            with open(draft, "wb") as file:
                file.write(body)
            os.replace(draft, path)
            self._make_room(len(body))
        except OSError:
            with suppress(OSError):
                os.unlink(draft)

    def _path(self, ref: ArtifactRef) -> str:
        named = hashlib.sha256(f"{ref.file_sha256}{ref.manifest_sha256}".encode())
        return f"{self._folder}/{named.hexdigest()}{SUFFIX}"

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._room is None:
                self._room = self._max_bytes - self._shrink()
            return size <= self._room

    def _make_room(self, size: int) -> None:
        with self._lock:
            if self._room is None or self._room < size:
                self._room = self._max_bytes - self._shrink()
            else:
                self._room -= size

    def _shrink(self) -> int:
        """Remove the oldest copies, and what was never finished; how many bytes are left."""
        now, copies = time.time(), []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                told = entry.stat()
                if not entry.name.endswith(".tmp"):
                    copies.append((told.st_mtime, told.st_size, entry.path))
                elif now - told.st_mtime > _STALE_S:
                    os.unlink(entry.path)
        held = sum(size for _, size, _ in copies)
        if held <= self._max_bytes:
            return held
        for _, size, path in sorted(copies):
            if held <= self._max_bytes - self._max_bytes // _SPARE:
                break
            Path(path).unlink(missing_ok=True)
            held -= size
        return held


def _closed(copy: SegmentCopy) -> bytes:
    return copy.cells.tobytes() + json.dumps(copy.signatures).encode() + b"\n" + copy.manifest


def _opened(body: bytes, rows: int) -> SegmentCopy:
    many = len(COLUMNS) * rows
    cells = np.frombuffer(body, dtype="<i8", count=many).reshape(len(COLUMNS), rows)
    signatures, _, manifest = body[many * CELL_BYTES :].partition(b"\n")
    return SegmentCopy(cells, manifest, json.loads(signatures))
