"""The last record of each release log that this machine has seen, kept beside the store and not in it.

A log whose end was cut off, or that is gone altogether, is sound by itself; only who has seen more of it can
tell. One small file a log; what is not as it was written is as if it were not there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from uuid import uuid4

from msgspec import MsgspecError
from msgspec.json import Decoder, encode

from seamless_assets.adapters.artifacts.storage.regular import read_whole, regular_file
from seamless_assets.core.releases.log import Head, ReleaseLog

_MAX_BYTES = 10_000
_SUFFIX = ".head"


@dataclass(frozen=True, slots=True)
class SeenHead:
    """The last record of a node's log as it was seen: number, hash and `as_of`."""

    node_id: str
    seq: int
    hash: str
    as_of: str

    @property
    def head(self) -> Head:
        """What tells the record from any other."""
        return Head(self.seq, self.hash)

    @property
    def mark(self) -> str:
        """What stands behind it in its file, so that a damaged one is found."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()


_DECODER = Decoder(tuple[SeenHead, str])


class SeenHeads:
    """Heads of logs in `folder`, shared by all processes of the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, log_uri: str) -> Head | None:
        """The last record of a log that was seen; None where none is known."""
        seen = _read(self._path(log_uri))
        return seen.head if seen else None

    def dated_after(self, as_of: str) -> Iterator[SeenHead]:
        """The heads of logs whose last record is dated after an instant."""
        names = sorted(os.listdir(self._folder)) if self._folder.is_dir() else ()
        for name in names:
            seen = _read(f"{self._folder}/{name}") if name.endswith(_SUFFIX) else None
            if seen is not None and seen.as_of > as_of:
                yield seen

    def remember(self, log_uri: str, log: ReleaseLog) -> None:
        """Remember where a log ends, unless it does not hold what was seen of it before.

        A folder that cannot be written to is no error: it spares nobody anything but a warning.
        """
        known, newest = self.load(log_uri), log.newest
        if newest is None or known == log.head or (known is not None and not log.holds(known)):
            return
        seen = SeenHead(log.node_id, newest.seq, newest.hash, newest.as_of)
        draft = f"{self._path(log_uri)}.{uuid4().hex}.tmp"
        try:
            os.makedirs(self._folder, exist_ok=True)
            Path(draft).write_bytes(encode((seen, seen.mark)))
            os.replace(draft, self._path(log_uri))
        except OSError:
            with suppress(OSError):
                os.unlink(draft)

    def _path(self, log_uri: str) -> str:
        # A project that is moved as a whole, store and state, is still the same.
        name = log_uri if "://" in log_uri else os.path.relpath(log_uri, self._folder)
        return f"{self._folder}/{hashlib.sha256(name.encode()).hexdigest()}{_SUFFIX}"


def _read(path: str) -> SeenHead | None:
    try:
        with regular_file(path) as (file, status):
            seen, mark = _DECODER.decode(read_whole(file, min(status.st_size, _MAX_BYTES)))
    except (OSError, MsgspecError):
        return None
    return seen if mark == seen.mark else None
