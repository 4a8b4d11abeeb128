"""Local copies of released segments: Arrow files that are mapped into memory, named by what they hold.

A copy is written whole under a name of its own and then renamed, so many processes may share the folder.
Its bytes are hashed when it is opened. The least recently used go first when the folder grows too large.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.coverage import Gap
from seamless_assets.core.run import Run

SUFFIX = ".arrow"
_FACTS = b"seamless"
_HASH_BYTES, _BODY_AT = 32, 64
"""A copy begins with the SHA-256 of its body, which Arrow wants at the start of a line of memory."""
_STALE_S = 3_600.0
"""A copy that was not finished by then never will be."""


class SegmentCache:
    """Copies in `folder`, at most `max_bytes` of them together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def load(self, refs: Sequence[ArtifactRef]) -> tuple[Run, list[int] | None] | None:
        """The run of just these artifacts and the signatures of their sources; None without a sound copy."""
        path = self._path(refs)
        try:
            mapped = pa.memory_map(str(path))
        except OSError:
            return None
        try:
            return _opened(mapped.read_buffer())
        except (pa.ArrowException, ValueError, KeyError, OSError):
            path.unlink(missing_ok=True)
            return None
        finally:
            with suppress(OSError):
                os.utime(path)

    def keep(self, refs: Sequence[ArtifactRef], run: Run, signatures: list[int] | None) -> None:
        """Write a copy, then let go of the oldest above the limit. A full disk is no error of the read."""
        path = self._path(refs)
        draft = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            body = _packed(run, signatures)
            with draft.open("wb") as file:
                file.write(hashlib.sha256(body).digest().ljust(_BODY_AT, b"\0"))
                file.write(body)
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


def _packed(run: Run, signatures: list[int] | None) -> pa.Buffer:
    """The run as an Arrow file."""
    facts = {"gaps": run.gaps, "flags": run.flags, "signatures": signatures}
    table = run.bars.replace_schema_metadata({_FACTS: json.dumps(facts).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _opened(copy: pa.Buffer) -> tuple[Run, list[int] | None]:
    promised, body = copy.slice(0, _HASH_BYTES), copy.slice(_BODY_AT)
    if hashlib.sha256(body).digest() != promised.to_pybytes():
        raise ValueError("the copy does not match its own hash")
    table = pa.ipc.open_file(body).read_all()
    facts = json.loads(table.schema.metadata[_FACTS])
    gaps = tuple(Gap(*gap) for gap in facts["gaps"])
    return Run(table.replace_schema_metadata(None), gaps, facts["flags"]), facts["signatures"]
