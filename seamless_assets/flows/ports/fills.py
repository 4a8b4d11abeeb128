"""Fills that go on when nobody waits for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId

if TYPE_CHECKING:
    from seamless_assets.flows.ports import Ports


class FillRunner(Protocol):
    """Runs fills beside the reads of this process."""

    def start(
        self, ports: Ports, node: NodeId, parts: Sequence[Segment], *, is_awaited: bool
    ) -> asyncio.Task[tuple[str, ...]]:
        """Fill `parts` of a node; the fill of just these that is under way is joined.

        One that `is_awaited` by a reader goes before work in the background.
        Its outcome tells why bars stay missing, and is empty where none does. It raises nothing.
        """
