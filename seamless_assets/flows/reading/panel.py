"""Reads of many nodes that make one consistent cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read

AT_ONCE = 16


async def read_cut(ports: Ports, requests: Sequence[ReadRequest]) -> list[ReadResult]:
    """One read for each request, all of them at one moment of the release logs.

    Reads that name no context bind the newest release, each in its turn; where a node was released
    meanwhile, it is read again until all of them are what was in force at the newest `as_of` among them.
    Raises as `read` does.
    """
    reads = dict(await _read_all(ports, requests))
    while outdated := await _outdated(ports, requests, reads):
        reads.update(await _read_all(ports, outdated))
    return [reads[request.node] for request in requests]


async def _read_all(ports: Ports, requests: Sequence[ReadRequest]) -> list[tuple[NodeId, ReadResult]]:
    async def one(request: ReadRequest) -> tuple[NodeId, ReadResult]:
        return request.node, await read(ports, request)

    return await map_bounded(one, requests, AT_ONCE)


async def _outdated(
    ports: Ports, requests: Sequence[ReadRequest], reads: Mapping[NodeId, ReadResult]
) -> list[ReadRequest]:
    """The requests without a context whose node had another release in force at the moment of the cut."""
    cut = max(read.metadata.as_of or "" for read in reads.values())

    async def is_outdated(request: ReadRequest) -> bool:
        if request.context is not None or not cut:
            return False
        release = (await ports.artifacts.load_snapshot(request.node, cut)).release
        return release is not None and release.as_of != reads[request.node].metadata.as_of

    found = await map_bounded(is_outdated, requests, AT_ONCE)
    return [request for request, is_old in zip(requests, found, strict=True) if is_old]
