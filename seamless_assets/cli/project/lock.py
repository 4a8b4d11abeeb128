"""One `up` or `ui` of a project at a time: two daemons would do everything twice.

The lock is the kernel's, on a file. Every program that is started holds it too, so it is free once the last
of them has ended, however they and the command ended, and what an earlier one left holds up no other.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seamless_assets.cli.terminal import waiting_for
from seamless_assets.errors import InvalidInput

PATIENCE_S = 15.0
"""Programs of a killed command take up to ten seconds to end."""
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class ProjectLock:
    """A lock that is held by whoever has its `descriptor` open."""

    descriptor: int


def await_earlier(file: Path, patience_s: float = PATIENCE_S) -> None:
    """Return once nothing of an earlier command runs. Raises `InvalidInput` for one that goes on."""
    if file.exists():
        with project_lock(file, patience_s):
            return


@contextmanager
def project_lock(file: Path, patience_s: float = PATIENCE_S) -> Iterator[ProjectLock]:
    """The lock of a project. Raises `InvalidInput` where another holds on to it, or no file can be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be made: {error.strerror}; set seamless.state_dir to a folder of your own",
            value=str(file),
        ) from error
    try:
        with waiting_for("the programs of an earlier `seamless up` or `ui` of this project to end"):
            deadline = time.monotonic() + patience_s
            while not _is_ours(descriptor):
                if time.monotonic() > deadline:
                    raise InvalidInput(
                        f"`seamless up` or `ui` runs already on this project ({file} is held); stop it first",
                        value=str(file),
                    )
                time.sleep(_LOOK_S)
        yield ProjectLock(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
