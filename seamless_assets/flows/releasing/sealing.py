"""Seal: bars, and all that is known of them, as one artifact on its way into the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from seamless_assets.core.bars.extents import find_packing
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import VOLUME, Manifest, SealedArtifact, packing_facts
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.core.releases.gate import refuse_unsound
from seamless_assets.core.releases.release import Release, epoch_micros_after
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import instant_micros


async def sealed_artifact(
    ports: Ports,
    node: NodeId,
    bars: pa.Table,
    *,
    partition: str,
    window: Segment,
    gaps: Sequence[Gap],
    flags: Mapping[str, int],
    watermark: int,
    after: Release | None,
    conformance_version: str,
    volume: VolumeUnit | None,
    decisions: Mapping[str, Any],
    dated: int | None = None,
    producer: Mapping[str, str] | None = None,
) -> SealedArtifact:
    """The artifact of the `bars` of `window`, whose `gaps` say what is not there.

    `decisions` are recorded beside those of the policy, whose `producer` it is unless there is another. It is
    `dated` (epoch microseconds; None: now), and after the release `after`. Raises `SealRefused` where bars
    are out of order, out of `window` or not finite.
    """
    refuse_unsound(node, window, bars)
    payload = encode_bars(bars, ports.policy.compression)
    micros = await instant_micros(ports, node) if dated is None else dated
    policy = {**ports.policy.as_record(), **decisions, **({VOLUME: volume.as_record()} if volume else {})}
    manifest = Manifest(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        partition=partition,
        range=(window.start, window.end),
        rows=bars.num_rows,
        dataset_fingerprint=fingerprint(
            bars, node_id=node, interval=node.timeframe, conformance_version=conformance_version
        ),
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        conformance_version=conformance_version,
        conformance_flags=flags,
        absent=tuple(gap for gap in gaps if gap.reason != MISSING),
        missing=tuple(gap for gap in gaps if gap.reason == MISSING),
        producer=ports.policy.producer if producer is None else producer,
        exchange=node.exchange,
        publication_watermark=watermark,
        as_of=instant_text(max(micros, epoch_micros_after(after) if after else 0)),
        **packing_facts(policy, find_packing(payload, bars)),
    )
    return SealedArtifact(node, manifest, payload, bars)
