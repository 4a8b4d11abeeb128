"""The collector of cycles, out of the way of what makes many objects that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No look for cycles meanwhile: the more objects are made, the more often all are looked through."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def take_all_for_old() -> None:
    """Let the next looks at what is young pass over all that is there now.

    Where somebody froze objects, nothing is done: they would be let go with the others.
    """
    if not gc.get_freeze_count():
        # To freeze and let go moves all into the oldest generation, without a look at any of it.
        gc.freeze()
        gc.unfreeze()
