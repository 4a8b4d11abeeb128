"""The last record of each release log that this machine has seen, kept beside the store and not in it.

A log whose end was cut off, or that is gone altogether, is sound by itself; only who has seen more of it can
tell. One small file a log; what is not as it was written is as if it were not there.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from msgspec import MsgspecError
from msgspec.json import Decoder, encode

from seamless_assets.adapters.artifacts.storage.regular import read_whole, regular_file
from seamless_assets.core.releases.log import Head, ReleaseLog

_MOST_BYTES = 1_000
_DECODER = Decoder(tuple[Head, str])


class SeenHeads:
    """Heads of logs in `folder`, shared by all processes of the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, log_uri: str) -> Head | None:
        """The last record of a log that was seen; None where none is known."""
        try:
            with regular_file(self._path(log_uri)) as (file, told):
                payload = read_whole(file, min(told.st_size, _MOST_BYTES))
            head, mark = _DECODER.decode(payload)
        except (OSError, MsgspecError):
            return None
        return head if mark == _mark(head) else None

    def remember(self, log_uri: str, log: ReleaseLog) -> None:
        """Remember where a log ends, unless it does not hold what was seen of it before.

        A folder that cannot be written to is no error: it spares nobody anything but a warning.
        """
        seen, newest = self.load(log_uri), log.head
        if newest is None or newest == seen or (seen is not None and not log.holds(seen)):
            return
        draft = f"{self._path(log_uri)}.{uuid4().hex}.tmp"
        try:
            os.makedirs(self._folder, exist_ok=True)
            Path(draft).write_bytes(encode((newest, _mark(newest))))
            os.replace(draft, self._path(log_uri))
        except OSError:
            with suppress(OSError):
                os.unlink(draft)

    def _path(self, log_uri: str) -> str:
        # A project that is moved as a whole, store and state, is still the same.
        name = log_uri if "://" in log_uri else os.path.relpath(log_uri, self._folder)
        return f"{self._folder}/{hashlib.sha256(name.encode()).hexdigest()}.head"


def _mark(head: Head) -> str:
    return hashlib.sha256(f"{head.seq} {head.hash}".encode()).hexdigest()
