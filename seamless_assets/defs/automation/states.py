"""What is released of nodes, read from their release logs; no exchange is asked."""

from __future__ import annotations

from collections.abc import Sequence
from logging import Logger

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.node import NodeId
from seamless_assets.defs.automation.due import NodeState
from seamless_assets.errors import StoreError
from seamless_assets.pipeline.connect import Seamless

AT_ONCE = 32
"""Release logs read side by side."""


def load_states(pipeline: Seamless, nodes: Sequence[NodeId], log: Logger) -> list[NodeState]:
    """The states of nodes, in their order, without those whose release log cannot be read.

    Each of these is logged and stops no other. Raises `StoreError` where not one could be read.
    """
    errors: list[StoreError] = []

    async def load(node: NodeId) -> NodeState | None:
        try:
            return NodeState.of(node, await pipeline.aio.ports.artifacts.load_snapshot(node))
        except StoreError as error:
            log.error(f"{node}: left out, its releases cannot be read: {error}")
            errors.append(error)
            return None

    found = pipeline.aio.portal.run(map_bounded(load, nodes, AT_ONCE))
    if errors and len(errors) == len(nodes):
        raise errors[0]
    return [state for state in found if state is not None]
