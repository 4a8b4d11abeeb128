"""Our clock and the exchange's: nothing that lasts is decided by ours alone."""

from __future__ import annotations

from seamless_assets.core.node import NodeId
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import with_retries


async def settled_now(ports: Ports, node: NodeId) -> float:
    """The earlier of our clock and the exchange's, in epoch seconds."""
    return min(ports.clock.now(), await ports.source.exchange_now(node.exchange))


async def ready_now(ports: Ports, node: NodeId) -> float:
    """The same, once the exchange is known to serve the node. Raises `ExchangeError`."""
    await with_retries(ports, lambda: ports.source.check_node(node))
    return await with_retries(ports, lambda: settled_now(ports, node))
