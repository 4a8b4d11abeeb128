"""The sync face, derived from the async one: each method is written once, there, with its docstring.

The twins have the name, signature and docstring of their originals, for people, completion and type checkers.
They work inside a running event loop too (a notebook): the flows run on the portal's loop, in its thread.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.stream import BatchedStream, Stream

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class HasTwin(Protocol):
    """Whose methods are derived from those of `aio`."""

    @property
    def aio(self) -> Any: ...


def blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[HasTwin, P], T]:
    """The twin of an awaited method: it returns when that is done."""

    @wraps(method)
    def call(self: HasTwin, /, *args: P.args, **kwargs: P.kwargs) -> T:
        portal: Portal = self.aio.portal
        work: Coroutine[Any, Any, T] = getattr(self.aio, method.__name__)(*args, **kwargs)
        return portal.run(work)

    return call


def blocking_unless(
    at_hand: Callable[..., T | None],
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[HasTwin, P], T]:
    """The same of a method whose outcome may be had `at_hand`, in the caller's own thread; None where not."""
    wait = blocking(method)

    @wraps(method)
    def call(self: HasTwin, /, *args: P.args, **kwargs: P.kwargs) -> T:
        outcome: T | None = getattr(self.aio, at_hand.__name__)(*args, **kwargs)
        return wait(self, *args, **kwargs) if outcome is None else outcome

    return call


def iterating(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[HasTwin, P], SyncStream[T]]:
    """The twin of a method that is iterated by `async for`."""

    @wraps(method)
    def call(self: HasTwin, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream[T]:
        return SyncStream(self.aio.portal, getattr(self.aio, method.__name__)(*args, **kwargs))

    item = str(method.__annotations__["return"]).removeprefix("AsyncIterator[").removesuffix("]")
    returned: Any = SyncStream[item]  # type: ignore[valid-type]
    call.__annotations__ = {**method.__annotations__, "return": returned}
    call.__signature__ = inspect.signature(method).replace(return_annotation=returned)  # type: ignore[attr-defined]
    return call


def forwarding(
    method: Callable[Concatenate[Any, P], Future[T]],
) -> Callable[Concatenate[HasTwin, P], Future[T]]:
    """The twin of a method that nobody waits for: it begins something, and its future says how that ends."""

    @wraps(method)
    def call(self: HasTwin, /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        begun: Future[T] = getattr(self.aio, method.__name__)(*args, **kwargs)
        return begun

    return call


def wrapping(
    method: Callable[Concatenate[Any, P], T], twin: Callable[[T], U]
) -> Callable[Concatenate[HasTwin, P], U]:
    """The twin of a method that asks for nothing and returns an async object, which has a `twin` too."""

    @wraps(method)
    def call(self: HasTwin, /, *args: P.args, **kwargs: P.kwargs) -> U:
        return twin(getattr(self.aio, method.__name__)(*args, **kwargs))

    call.__annotations__ = {**method.__annotations__, "return": twin}
    call.__signature__ = inspect.signature(method).replace(return_annotation=twin)  # type: ignore[attr-defined]
    return call


class SyncStream(Iterator[T]):
    """The items of a stream for callers that do not await; any thread may ask for them, or close it."""

    def __init__(self, portal: Portal, items: Stream[T] | BatchedStream[T]) -> None:
        self._portal, self._items = portal, items
        self._ready: deque[T] = deque()
        self._is_left = False

    def __next__(self) -> T:
        while True:
            if not self._items.is_closed:
                # Several may ask at once, and each item goes to one of them.
                with suppress(IndexError):
                    return self._ready.popleft()
            if self._is_left:
                raise StopIteration
            try:
                self._portal.run(self._take())
            except StopAsyncIteration:
                # Another who asked meanwhile may have got the last ones.
                if self._items.is_closed or not self._ready:
                    raise StopIteration from None
            except CancelledError:
                if self._is_left:
                    raise StopIteration from None
                raise

    def close(self) -> None:
        """End it before its end, and return when it has cleaned up; who asks for an item hears that.

        Raises `BlockingCall` on the pipeline's own loop.
        """
        # Where closing is refused, the stream goes on.
        self._is_left = not self._portal.is_here
        if self._items.is_closed:
            return
        try:
            self._portal.run(self._items.aclose())
        except CancelledError:
            # The pipeline is closed at the same time, which ends it as well.
            if not self._items.is_closed:
                raise

    async def _take(self) -> None:
        """Take what comes next, on the loop: a caller that is interrupted meanwhile loses nothing of it."""
        self._ready.extend(await self._items.several())
