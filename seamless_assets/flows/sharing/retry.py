"""Asking an exchange again, with growing delays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from seamless_assets.core.sharing.events import ExchangeWait
from seamless_assets.errors import ExchangeError, ExchangeUnavailable, RateLimited
from seamless_assets.flows.ports import Ports

T = TypeVar("T")
LONGEST_WAIT_S = 300.0
"""A ban that lasts longer is not waited out: what is missing is reported instead."""


async def with_retries(ports: Ports, ask: Callable[[], Awaitable[T]], *, waiting_for: str = "") -> T:
    """The answer of `ask`, asked for again with growing delays, or as late as the exchange demands.

    Before each wait the observer is told that one waits for the exchange `waiting_for`, where that is given.
    Raises the last `ExchangeUnavailable`.
    """
    attempt = 1
    while True:
        try:
            return await ask()
        except ExchangeUnavailable as error:
            retry_after = error.retry_after if isinstance(error, RateLimited) else None
            if attempt >= ports.policy.max_attempts or (retry_after or 0.0) > LONGEST_WAIT_S:
                raise
            delay = ports.policy.retry_delay(attempt, ports.rng.random(), retry_after)
            if waiting_for:
                attempts = ports.policy.max_attempts
                ports.observer.notify(ExchangeWait(waiting_for, attempt, attempts, delay, str(error)))
            await ports.clock.sleep(delay)
            attempt += 1


async def ask_or_none(ports: Ports, ask: Callable[[], Awaitable[T]]) -> T | None:
    """The same; None where the exchange gives no answer: for answers that only add to what is known."""
    try:
        return await with_retries(ports, ask)
    except ExchangeError:
        return None
