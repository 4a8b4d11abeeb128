"""Our clock and the exchange's: nothing that lasts is decided by ours alone."""

from __future__ import annotations

import asyncio

from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.coverage.ledger import CLOCK_TOLERANCE_S
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import LEAST_STEP_MICROS
from seamless_assets.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import with_retries

TRUSTED_SKEW_S = 5.0
"""Clocks that differ by less are taken for the same."""
ANSWER_S = 10.0


async def settled_now(ports: Ports, node: NodeId) -> float:
    """The earlier of our clock and the exchange's, in epoch seconds."""
    return min(ports.clock.now(), await ports.source.exchange_now(node.exchange))


def known_now(ports: Ports, node: NodeId) -> float:
    """The exchange's clock as far as it was asked, in epoch seconds; nothing is asked, and ours will do.

    It goes by ours while the two are taken for the same.
    """
    skew = ports.source.clock_skew(node.exchange)
    return ports.clock.now() + (skew if abs(skew) > TRUSTED_SKEW_S else 0.0)


async def dated_now(ports: Ports, node: NodeId) -> float:
    """The instant by which what lasts is dated, in epoch seconds: ours, unless the exchange's contradicts it.

    A clock that is ahead of the exchange's by more than `TRUSTED_SKEW_S` would hide what is dated by others
    until then. An exchange that cannot be asked within `ANSWER_S` contradicts nothing.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            theirs = await ports.source.exchange_now(node.exchange)
    except (ExchangeError, TimeoutError):
        return ports.clock.now()
    ours = ports.clock.now()
    return theirs if ours - theirs > TRUSTED_SKEW_S else ours


async def recorded_now(ports: Ports, node: NodeId) -> float:
    """When what is found out now is recorded, in epoch seconds: by `known_now`, and after the newest release.

    So what was found out after a release is never taken for older than it because a clock is slow. A release
    that lies further ahead than the clocks of workers differ was dated by one that was wrong, and moves
    nothing.
    """
    now = known_now(ports, node)
    newest = (await ports.artifacts.load_snapshot(node)).release
    if newest is None:
        return now
    ahead = epoch_micros(newest.as_of, "as_of") / 1e6 - now
    if not 0.0 <= ahead < CLOCK_TOLERANCE_S:
        return now
    # Before the next release can be, and in the order in which it was found out.
    return now + ahead + (1.0 - ahead / CLOCK_TOLERANCE_S) * LEAST_STEP_MICROS / 1e6


async def ready_now(ports: Ports, node: NodeId) -> float:
    """The same, once the exchange is known to serve the node; who watches is told what is waited for.

    Raises `ExchangeError`, of a derived node too.
    """
    refuse_derived(ports, node)
    await with_retries(ports, lambda: check_served(ports, node), waiting_for=node.exchange)
    return await with_retries(ports, lambda: settled_now(ports, node), waiting_for=node.exchange)


async def refuse_unserved(ports: Ports, node: NodeId) -> None:
    """Raise `ExchangeRefused` where the exchange says that it does not serve the node, asked once.

    One that cannot be asked within `ANSWER_S` says nothing. Raises it of a derived node too.
    """
    refuse_derived(ports, node)
    try:
        async with asyncio.timeout(ANSWER_S):
            await check_served(ports, node)
    except (ExchangeUnavailable, TimeoutError):
        return


async def check_served(ports: Ports, node: NodeId) -> None:
    """Raise `ExchangeError` where the exchange does not serve what a node's bars are: candles, or trades."""
    if node in ports.policy.made_of_trades:
        await ports.source.check_trades(node)
    else:
        await ports.source.check_node(node)


def refuse_derived(ports: Ports, node: NodeId) -> None:
    """Raise `ExchangeRefused` where a node is derived: nothing of an exchange is released as its bars."""
    if node in ports.policy.derived:
        raise ExchangeRefused(
            f"{node} is derived of other nodes, and its bars come of no exchange; materialize it",
            node_id=str(node),
        )
