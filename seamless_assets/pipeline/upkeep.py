"""The part of the face that keeps stores in order and tells how all is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from seamless_assets.core.calendar.partition import UNITS, PartitionUnit
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import Finding
from seamless_assets.errors import InvalidChoice, InvalidInput, SeamlessError
from seamless_assets.flows.diagnose import diagnose
from seamless_assets.flows.filling import history
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing import clean_up as cleaning
from seamless_assets.flows.releasing import compact as compacting
from seamless_assets.flows.releasing import verify as verifying
from seamless_assets.flows.releasing.clean_up import GRACE_S, CleanUpReport
from seamless_assets.flows.releasing.commit import mirror
from seamless_assets.flows.releasing.compact import CompactReport
from seamless_assets.flows.releasing.verify import VerifyReport
from seamless_assets.pipeline.base import AsyncBase


class Upkeep(AsyncBase):
    """Methods that change no dataset."""

    async def verify(
        self, node: str | NodeId, *, on_progress: Callable[[int, int], None] | None = None
    ) -> VerifyReport:
        """Prove every hash from the release log down to the bars; each fault is in the report.

        `on_progress` is called, in the pipeline's thread, with the artifacts that are proven and with all.
        """
        parsed = NodeId.parse(node)
        _require_callable(on_progress, "on_progress")
        return await self._do(lambda ports: verifying.verify(ports, parsed, on_progress))

    async def compact(self, node: str | NodeId, unit: PartitionUnit | None = None) -> CompactReport:
        """Merge small artifacts into one for each closed month (or `unit`), as an ordinary release.

        Bars stay the same, which `verify` proves, and every older `as_of` reads its old files.
        """
        known = await self._governed(node)
        if unit is not None and unit not in UNITS:
            raise InvalidChoice(f"unit {unit!r} is not one of {', '.join(UNITS)}", value=unit, choices=UNITS)
        return await self._do(lambda ports: compacting.compact(ports, known, unit))

    async def gc(self, node: str | NodeId | None = None, *, grace_s: float = GRACE_S) -> list[CleanUpReport]:
        """Remove files that no release names and nobody waits for, older than `grace_s` seconds.

        Of all declared nodes, or of one. No release, of any writer at any time, misses a file after it. A
        node that cannot be cleaned up stops no other; the first error is raised when all were looked at.
        """
        nodes = self._nodes() if node is None else [await self._governed(node)]
        is_number = isinstance(grace_s, (int, float)) and not isinstance(grace_s, bool)
        if not is_number or not 0 <= grace_s < math.inf:
            raise InvalidInput(f"grace_s is {grace_s!r:.100}; give seconds from 0 up", value=grace_s)

        async def work(ports: Ports) -> list[CleanUpReport]:
            reports: list[CleanUpReport] = []
            errors: list[SeamlessError] = []
            for known in nodes:
                try:
                    reports.append(await cleaning.clean_up(ports, known, grace_s))
                except SeamlessError as error:
                    errors.append(error)
            if errors:
                raise errors[0]
            return reports

        return await self._do(work)

    async def mirror(self, node: str | NodeId | None = None) -> dict[str, str | None]:
        """Make what is missing of the Iceberg tables of all declared nodes, or of one; their URLs by node.

        Every release is mirrored as it is made; this is for logs that are older than
        `seamless.artifact.mirror`, and for what was lost. None stands for a node without a release.
        Raises `InvalidInput` where the settings name no mirror, `StoreError`.
        """
        nodes = self._nodes() if node is None else [await self._governed(node)]

        async def work(ports: Ports) -> dict[str, str | None]:
            return {str(known): await mirror(ports, known) for known in nodes}

        return await self._do(work)

    async def evict(self) -> int:
        """Drop hot bars that artifacts hold and that are older than `hot_store.keep_days`; the bars dropped.

        What no released artifact holds always stays. Raises `StoreError`.
        """
        fetched = [item.node for item in self.settings.nodes]
        return await self._do(lambda ports: history.evict(ports, fetched))

    async def deliver_webhooks(self) -> int:
        """Send now what waits for the webhook of the world service and is due; how many are left.

        Every open pipeline of the machine does so by itself every few seconds, whoever left the messages.
        Raises `InvalidInput` without `environment.world_webhook_url`, `SessionStoreError`.
        """

        async def work(ports: Ports) -> int:
            if ports.webhooks is None:
                raise InvalidInput("there is no webhook to deliver to; name environment.world_webhook_url")
            await ports.webhooks.deliver_due()
            return await ports.webhooks.count_pending()

        return await self._do(work)

    async def diagnose(self, *, on_pending: Callable[[tuple[str, ...]], None] | None = None) -> list[Finding]:
        """Whether each store, server and exchange answers, its version and lag, and what to do if not.

        `on_pending` is called, in the pipeline's thread, with the parts that have not answered yet.
        """
        _require_callable(on_pending, "on_pending")
        exchanges, shared = tuple(self.settings.exchanges), self.portal.adapters.shared
        return await self._do(lambda ports: diagnose(ports, exchanges, shared, on_pending))


def _require_callable(given: Any, name: str) -> None:
    if given is not None and not callable(given):
        raise InvalidInput(f"{name} is {given!r:.100}; give a function, or None", value=given)
