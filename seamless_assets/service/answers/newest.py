"""Which release of a node is the newest, asked of its log."""

from __future__ import annotations

from functools import lru_cache

from seamless_assets.core.node import NodeId
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.answers.replies import Released

_parsed = lru_cache(maxsize=1_024)(NodeId.parse)


class NewestReleases:
    """Asks the log at every call; one that lies on a disk of this machine is looked at without its thread."""

    def __init__(self, pipeline: Seamless) -> None:
        self._aio = pipeline.aio

    async def ask(self, node_id: str) -> Released:
        """The release that nothing follows. Raises `StoreError`."""
        node = _parsed(node_id)
        snapshot = await self._aio.portal.do(lambda ports: ports.artifacts.load_snapshot(node))
        newest = snapshot.release
        if newest is None:
            return Released(node_id, None, snapshot.dataset_fingerprint, seq=0)
        return Released(node_id, newest.as_of, snapshot.dataset_fingerprint, newest.seq)

    def is_still(self, released: Released) -> bool | None:
        """Whether nothing follows it, said at once; None where that must be asked."""
        if released.seq is None:
            return None
        return self._aio.ports.artifacts.is_newest(_parsed(released.node_id), released.seq)
