"""Artifacts sealed by hand, for tests and benches of stores alone."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from seamless_assets.core.bars.extents import find_extents
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest, SealedArtifact
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.testing.twins import START, walk

NODE = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1m")
AS_OF = "2025-01-02T00:00:00.000000Z"


def seal_bars(bars: pa.Table, partition: str, end: int | None = None, **facts: object) -> SealedArtifact:
    """An artifact of one-minute bars, from the first up to `end`, with other `facts` in its manifest."""
    payload = encode_bars(bars)
    start = bars["ts"][0].as_py() if bars.num_rows else START
    manifest = Manifest(
        node_id=str(NODE),
        interval=60,
        partition=partition,
        range=(start, end or start + bars.num_rows * 60),
        rows=bars.num_rows,
        dataset_fingerprint=fingerprint(bars, node_id=NODE, interval=60),
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        conformance_version="v2",
        conformance_flags={},
        absent=(),
        missing=(),
        producer={"name": "test"},
        exchange="okx",
        policy={},
        publication_watermark=start + 86_400,
        as_of=AS_OF,
        extents=find_extents(payload, bars),
    )
    return SealedArtifact(NODE, replace(manifest, **facts), payload, bars)  # type: ignore[arg-type]


def sealed(rows: int = 10, end: int | None = None, **facts: object) -> SealedArtifact:
    """An artifact of `rows` bars of the first minutes of 2025."""
    made = ((ts, *values) for ts, values in walk(START, START + rows * 60).items())
    return seal_bars(table_of(made, BARS_SCHEMA), "2025-01-01", end, **facts)
