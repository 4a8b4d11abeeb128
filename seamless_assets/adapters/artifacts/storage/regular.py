"""Reading regular files alone: nothing waits for a pipe, and no link leads out of the store."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


class IrregularFile(OSError):
    """Something else stands in place of a file: a folder, a link, a pipe, a device."""


@contextmanager
def regular_file(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """The open file at `path`, and what the system tells of it. Raises `IrregularFile`, `OSError`."""
    file, status = open_regular(path)
    try:
        yield file, status
    finally:
        os.close(file)


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """The same, for a caller that closes it. A context takes a fifth of what many small files cost."""
    try:
        # Without waiting: the other end of a pipe may never come.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR):
            raise IrregularFile(error.errno, "no regular file", path) from error
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise IrregularFile(errno.EINVAL, "no regular file", path)
    except BaseException:
        os.close(file)
        raise
    return file, status


def read_whole(file: int, size: int) -> bytes:
    """What an open file of `size` bytes holds; one call reads no more than two gibibytes."""
    parts = [os.read(file, size)]
    while parts[-1] and sum(map(len, parts)) < size:
        parts.append(os.read(file, size))
    return parts[0] if len(parts) == 1 else b"".join(parts)
