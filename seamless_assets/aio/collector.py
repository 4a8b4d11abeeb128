"""The collector of cycles, out of the way of what makes many objects that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No look for cycles meanwhile: the more objects are made, the more often all are looked through."""
    pause = object()
    if gc.isenabled():
        _found_on.add(pause)
    gc.disable()
    try:
        yield
    finally:
        if pause in _found_on:
            _found_on.remove(pause)
            gc.enable()


def end_pauses_of_others() -> None:
    """Let a process that was just forked look for cycles: who paused that is not there to end it."""
    if _found_on:
        gc.enable()


_found_on = set[object]()
"""The pauses under way that found it on."""


def take_all_for_old() -> None:
    """Let the next looks at what is young pass over all that is there now.

    Where somebody froze objects, nothing is done: they would be let go with the others.
    """
    if not gc.get_freeze_count():
        # To freeze and let go moves all into the oldest generation, without a look at any of it.
        gc.freeze()
        gc.unfreeze()
