"""The part of the face that decides what is released."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from seamless_assets.core.calendar.window import Instant, window_of
from seamless_assets.core.canonical import is_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import Release
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.deriving import nodes as deriving
from seamless_assets.flows.releasing import govern as governing
from seamless_assets.flows.releasing import materialize as materializing
from seamless_assets.flows.releasing.materialize import MaterializeReport, PartitionReport
from seamless_assets.flows.releasing.publish import Sealed
from seamless_assets.pipeline.base import AsyncBase, require_truth
from seamless_assets.pipeline.reading import as_of_text


class Releasing(AsyncBase):
    """Methods that write artifacts and release logs."""

    async def materialize(self, node: str | NodeId, start: Instant, end: Instant) -> MaterializeReport:
        """Fetch anew, conform, seal and release every partition that the window touches.

        A corrected bar becomes a revision and a new release; the same content changes nothing. A derived node
        is made of what is released of its sources by now; bars that the exchange itself has are compared.
        Raises `ExchangeRefused`, `StoreError`, `InvalidInput`; what an exchange withholds is in `problems`.
        """
        known, window = NodeId.parse(node), window_of(start, end)
        if (recipe := self.settings.recipes.get(known)) is not None:
            return await self._do(lambda ports: deriving.derive_node(ports, known, recipe, window))
        self._declared(known)
        return await self._do(lambda ports: materializing.materialize(ports, known, window))

    def materialize_each(
        self, node: str | NodeId, start: Instant, end: Instant
    ) -> AsyncIterator[PartitionReport]:
        """Materialize partition by partition, handing over each report as soon as it is done."""
        known, window = NodeId.parse(node), window_of(start, end)
        if (recipe := self.settings.recipes.get(known)) is not None:
            return self._stream(lambda ports: deriving.derive_node_each(ports, known, recipe, window))
        self._declared(known)
        return self._stream(lambda ports: materializing.materialize_each(ports, known, window))

    async def publish(self, node: str | NodeId, start: Instant, end: Instant) -> list[Sealed]:
        """Seal what is settled of the window's partitions as artifacts; nothing is released."""
        known, window = self._declared(node), window_of(start, end)
        return await self._do(lambda ports: materializing.publish(ports, known, window))

    async def release(
        self,
        node: str | NodeId,
        *,
        reason: str,
        partition: str | None = None,
        fingerprint: str | None = None,
        force: bool = False,
    ) -> Release:
        """Release by hand what waits for it, whatever its checks said.

        Of each partition that is what was sealed last, where it was not decided on since, or where a
        rollback or withdrawal holds it back. With a `partition` (`2025-01-31`, `2025-01`, `2025`) it is
        what waits inside that, with a `fingerprint` the artifact of that content. The pins of what is
        touched are lifted, no others. The record names the checks, those that this overrides too; what holds
        no bar at all is released only with `force`. Raises `NothingReleased` where there is nothing,
        `ReleaseRefused` where nothing can be put in force while pins stay, or where several wait, pinned
        ones among them, and no partition is given.
        """
        known, why = await self._governed(node), _reason(reason)
        require_truth(force, "force")
        return await self._do(
            lambda ports: governing.release_by_hand(ports, known, why, partition, fingerprint, force=force)
        )

    async def unpin(self, node: str | NodeId, *, reason: str) -> Release:
        """Lift all pins of a node: releases may change again what rollbacks and withdrawals hold.

        What is in force stays so until then. Raises `NothingReleased` where nothing ever was.
        """
        known, why = await self._governed(node), _reason(reason)
        return await self._do(lambda ports: governing.unpin(ports, known, why))

    async def rollback(
        self, node: str | NodeId, *, reason: str, to: int | None = None, as_of: Instant = None
    ) -> Release:
        """Put in force again what was so after release `to`, or at `as_of`, as a new release.

        What that changes is pinned: materializing does not touch it until a release by hand. Older
        `as_of` read as before. Raises `NothingReleased`, `InvalidInput`.
        """
        known, why, instant = await self._governed(node), _reason(reason), as_of_text(as_of)
        if (to is None) == (as_of is None):
            raise InvalidInput("say where to roll back to: the seq of a release, or an as_of, not both")
        if to is not None and (not isinstance(to, int) or isinstance(to, bool)):
            raise InvalidInput(
                f"to is {to!r:.100}; give the seq of a release, which is a whole number", value=to
            )
        return await self._do(lambda ports: governing.rollback(ports, known, why, to=to, as_of=instant))

    async def withdraw(self, node: str | NodeId, partition: str, *, reason: str) -> Release:
        """Take a partition (`2025-01-31`, `2025-01`, `2025`) out of force, and pin it so.

        Raises `NothingReleased` where nothing of it is in force.
        """
        known, why = await self._governed(node), _reason(reason)
        return await self._do(lambda ports: governing.withdraw(ports, known, partition, why))


def _reason(reason: Any) -> str:
    if not is_text(reason) or not reason.strip():
        raise InvalidInput("what is done by hand needs a reason that the next reader of the log understands")
    return str(reason)
