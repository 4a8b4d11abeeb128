"""The end by a signal, which ends all that was started as well, be it that the signal came meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Ending:
    """The handler of signals: the first one ends the program as by an exception, further ones change nothing.

    Inside `put_off` it ends only afterwards: a process that is being started is on nobody's list yet, and an
    exception in the midst of that would leave it behind.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._put_off = 0
        self._status: int | None = None
        """What to end with once nothing is to come to its end first."""

    def __call__(self, number: int, _: object = None) -> None:
        """Take a signal."""
        if self._is_asked:
            return
        self._is_asked, self._status = True, 128 + number
        self._end_where_due()

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Let the body come to its end first."""
        self._put_off += 1
        try:
            yield
        finally:
            self._put_off -= 1
            self._end_where_due()

    def _end_where_due(self) -> None:
        status = self._status
        if status is not None and not self._put_off:
            self._status = None
            sys.exit(status)


ENDING = Ending()
