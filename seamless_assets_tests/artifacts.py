"""One small artifact, sealed by hand, for tests of stores alone."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from twins import START, walk

from seamless_assets.core.artifact import Manifest, SealedArtifact
from seamless_assets.core.bars import BARS_SCHEMA
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.fingerprint import fingerprint
from seamless_assets.core.node import NodeId
from seamless_assets.core.parquet import encode_bars

NODE = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1m")
AS_OF = "2025-01-02T00:00:00.000000Z"


def sealed(rows: int = 10, end: int | None = None, **facts: object) -> SealedArtifact:
    """An artifact of `rows` one-minute bars, with other `facts` in its manifest."""
    made = [(ts, *values) for ts, values in walk(START, START + rows * 60).items()]
    bars = pa.table(
        [pa.array(c, f.type) for c, f in zip(zip(*made, strict=True), BARS_SCHEMA, strict=True)], BARS_SCHEMA
    )
    payload = encode_bars(bars)
    manifest = Manifest(
        node_id=str(NODE),
        interval=60,
        partition="2025-01-01",
        start=START,
        end=end or START + rows * 60,
        rows=rows,
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
        publication_watermark=START + 86_400,
        as_of=AS_OF,
    )
    return SealedArtifact(NODE, replace(manifest, **facts), payload)  # type: ignore[arg-type]
