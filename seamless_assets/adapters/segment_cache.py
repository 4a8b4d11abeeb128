"""Local copies of released segments: columns of bars to be read as they lie, named by what they hold.

A copy is the bytes of each column after the other, then a line of signatures, then the manifests. It is
written whole under a name of its own and then renamed, so many processes may share the folder. It proves
nothing of itself: its reader holds it against the release log. It is read and not mapped into memory, so
that what was proven stays so, whatever is done to the file. The least recently used go first when the
folder grows too large.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import BARS_SCHEMA

SUFFIX = ".bars"
_VALUE_BYTES = 8
_STALE_S = 3_600.0
"""A copy that was not finished by then never will be."""


@dataclass(frozen=True, slots=True)
class SegmentCopy:
    """The bars of artifacts in order, their manifests as stored, and the signatures of their files."""

    bars: pa.Table
    manifests: list[bytes]
    signatures: list[int] | None


class SegmentCache:
    """Copies in `folder`, at most `max_bytes` of them together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def load(self, refs: Sequence[ArtifactRef]) -> SegmentCopy | None:
        """What is said to be the copy of just these artifacts; None where there is none to read."""
        path = self._path(refs)
        try:
            with pa.OSFile(str(path)) as file:
                copy = _opened(file.read_buffer(), sum(ref.rows for ref in refs))
            os.utime(path)
        except (ValueError, OSError):
            return None
        return copy

    def keep(self, refs: Sequence[ArtifactRef], copy: SegmentCopy) -> None:
        """Write a copy, then let go of the oldest above the limit. A full disk is no error of the read.

        Bars with nulls are not copied.
        """
        if any(column.null_count for column in copy.bars.columns):
            return
        path = self._path(refs)
        draft = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                for column in copy.bars.columns:
                    file.write(column.to_numpy().data)
                file.write(json.dumps(copy.signatures).encode() + b"\n" + b"".join(copy.manifests))
            draft.replace(path)
            self._shrink()
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _path(self, refs: Sequence[ArtifactRef]) -> Path:
        named = hashlib.sha256()
        for ref in refs:
            named.update(f"{ref.file_sha256}{ref.manifest_sha256}".encode())
        return self._folder / f"{named.hexdigest()}{SUFFIX}"

    def _shrink(self) -> None:
        now, copies = time.time(), []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                told = entry.stat()
                if entry.name.endswith(SUFFIX):
                    copies.append((told.st_mtime, told.st_size, entry.path))
                elif entry.name.endswith(".tmp") and now - told.st_mtime > _STALE_S:
                    os.unlink(entry.path)
        held = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if held <= self._max_bytes:
                break
            Path(path).unlink(missing_ok=True)
            held -= size


def _opened(body: pa.Buffer, rows: int) -> SegmentCopy:
    width = rows * _VALUE_BYTES
    told = len(BARS_SCHEMA) * width
    if body.size < told:
        raise ValueError(f"{body.size} bytes are too few for {rows} bars")
    columns = [
        pa.Array.from_buffers(field.type, rows, [None, body.slice(at * width, width)])
        for at, field in enumerate(BARS_SCHEMA)
    ]
    signatures, *manifests = body.slice(told).to_pybytes().splitlines(keepends=True)
    return SegmentCopy(pa.Table.from_arrays(columns, schema=BARS_SCHEMA), manifests, json.loads(signatures))
