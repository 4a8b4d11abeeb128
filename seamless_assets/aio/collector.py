"""The collector of cycles, out of the way of what makes many objects that stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
MOST_OBJECTS = 250_000
"""So many more new objects than usual may wait to be looked through, however many ask for more."""


class _Pauses:
    """Those that are under way, in whatever thread, and whether the first of them found the collector on."""

    def __init__(self) -> None:
        # Between a look at the collector and its change no other thread may change it. What is let go
        # meanwhile may be a pause as well, which ends here in this thread.
        self._one_at_a_time = threading.RLock()
        self._under_way = set[object]()
        self._found_on = True

    def begin(self, pause: object) -> None:
        with self._one_at_a_time:
            if not self._under_way:
                self._found_on = gc.isenabled()
            self._under_way.add(pause)
            gc.disable()

    def end(self, pause: object) -> None:
        with self._one_at_a_time:
            if pause not in self._under_way:
                return
            self._under_way.remove(pause)
            if not self._under_way and self._found_on:
                gc.enable()

    def end_all(self) -> None:
        """In a process that was just forked: whoever began them is not there to end them."""
        self._one_at_a_time = threading.RLock()
        for pause in tuple(self._under_way):
            self.end(pause)


class _Patience:
    """How many more objects than usual are made before young ones are looked through, as all ask together."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.RLock()
        self._asked = dict[object, int]()
        self._usual = gc.get_threshold()
        self._own = {self._usual}

    def ask(self, who: object, objects: int) -> None:
        with self._one_at_a_time:
            self._asked[who] = objects
            self._adjust()

    def take_back(self, who: object) -> None:
        with self._one_at_a_time:
            if self._asked.pop(who, None) is not None:
                self._adjust()

    def take_all_back(self) -> None:
        """In a process that was just forked."""
        self._one_at_a_time = threading.RLock()
        for who in tuple(self._asked):
            self.take_back(who)

    def _adjust(self) -> None:
        found = gc.get_threshold()
        if found not in self._own:
            # Somebody else has set it.
            self._usual = found
        often, rarely, seldom = self._usual
        # 0 stands for never.
        more = min(sum(self._asked.values()), MOST_OBJECTS)
        wanted = (often + more if often else 0, rarely, seldom)
        # Who is interrupted here leaves the one or the other.
        self._own = {found, wanted}
        gc.set_threshold(*wanted)


_pauses = _Pauses()
_patience = _Patience()


@contextmanager
def collector_paused() -> Iterator[None]:
    """No look for cycles meanwhile: the more objects are made, the more often all are looked through."""
    pause = object()
    try:
        # A Ctrl-C may come in the middle of it.
        _pauses.begin(pause)
        yield
    finally:
        _pauses.end(pause)


@contextmanager
def collector_patient(objects: int) -> Iterator[None]:
    """Cycles are looked for meanwhile after so many more new objects than else.

    For what makes that many which all stay for a little while: else these are looked through several times in
    vain, and soon all of the process with them.
    """
    who = object()
    try:
        _patience.ask(who, objects)
        yield
    finally:
        _patience.take_back(who)


@coroutine
def steps_unlooked(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `work`, which makes and drops many objects: cycles are looked for only while it waits.

    Else some look finds them, takes them for such that stay, and soon all of the process are looked through,
    for longer than a turn in a rate budget can be late.
    """
    step: Callable[[], Any] = partial(work.send, None)
    while True:
        with collector_paused():
            try:
                awaited = step()
            except StopIteration as ended:
                outcome: T = ended.value
                return outcome
        try:
            step = partial(work.send, (yield awaited))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it is for `work`, a cancellation too
            step = partial(work.throw, error)


def end_pauses_of_others() -> None:
    """Let a process that was just forked look for cycles as usual: whoever asked for less is not there."""
    _pauses.end_all()
    _patience.take_all_back()


def take_all_for_old() -> None:
    """Let the next looks at what is young pass over all that is there now.

    Where somebody froze objects, nothing is done: they would be let go with the others.
    """
    if not gc.get_freeze_count():
        # To freeze and let go moves all into the oldest generation, without a look at any of it.
        gc.freeze()
        gc.unfreeze()
