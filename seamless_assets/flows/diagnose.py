"""Diagnose: whether each part of the pipeline can be reached, and what to do where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from seamless_assets.core.sharing.health import Finding, StoreStatus
from seamless_assets.errors import SeamlessError
from seamless_assets.flows.ports import Ports

MAX_SKEW_S = 5.0


Question = Callable[[], Awaitable[StoreStatus]]


async def diagnose(
    ports: Ports,
    exchanges: Sequence[str],
    shared: Sequence[tuple[str, Question]] = (),
    on_pending: Callable[[tuple[str, ...]], None] | None = None,
) -> list[Finding]:
    """Look at the stores, what workers share (names and questions) and each exchange, all at once.

    `on_pending` hears, whenever it changes, which parts have not answered yet. Raises nothing.
    """
    looks = {
        "hot store": _look("hot store", ports.hot.status),
        "artifact store": _look("artifact store", ports.artifacts.status),
        **{part: _look(part, ask) for part, ask in shared},
        **{exchange: _exchange(ports, exchange) for exchange in exchanges},
    }
    pending = dict.fromkeys(looks)

    async def noted(part: str, look: Awaitable[Finding]) -> Finding:
        found = await look
        del pending[part]
        if on_pending is not None:
            on_pending(tuple(pending))
        return found

    if on_pending is not None:
        on_pending(tuple(pending))
    return await asyncio.gather(*(noted(part, look) for part, look in looks.items()))


async def _look(part: str, ask: Question) -> Finding:
    try:
        status = await ask()
    except SeamlessError as error:
        return Finding(part, False, None, str(error))
    return Finding(part, True, status, status.warning)


async def _exchange(ports: Ports, exchange: str) -> Finding:
    began = ports.clock.now()
    try:
        skew = await ports.source.exchange_now(exchange) - ports.clock.now()
    except SeamlessError as error:
        # An address of this machine where nobody listens is no matter of the network.
        is_told = "silent_place" in error.facts
        advice = f"{error}{'' if is_told else '; check the network, and base_url and proxy of this exchange'}"
        return Finding(exchange, False, None, advice)
    status = StoreStatus(
        kind="exchange",
        address=exchange,
        version="",
        lag=f"its clock is {skew:+.1f} s from ours",
        latency_ms=(ports.clock.now() - began) * 1000,
    )
    is_off = abs(skew) > MAX_SKEW_S
    return Finding(exchange, True, status, "set this machine's clock by NTP" if is_off else "")
