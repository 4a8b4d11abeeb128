"""Flows as spans, where somebody traces; nothing is done where nobody does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from seamless_assets.flows.ports import Facts, Ports

P = ParamSpec("P")
T = TypeVar("T")
Flow = Callable[P, Awaitable[T]]


def traced(
    name: str, facts: Callable[..., Facts]
) -> Callable[[Flow[P, T]], Callable[P, Coroutine[Any, Any, T]]]:
    """Make each call of a flow a span of `name`, with `facts` of its arguments behind the ports."""

    def decorate(flow: Flow[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(flow)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            ports, others = cast(Ports, args[0]), args[1:]
            if ports.tracer is None:
                return await flow(*args, **kwargs)
            with ports.tracer.span(name, facts(*others, **kwargs)):
                return await flow(*args, **kwargs)

        return call

    return decorate
