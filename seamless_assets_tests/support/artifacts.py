"""Artifacts sealed by hand, for tests and benches of stores alone."""

from __future__ import annotations

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from seamless_assets.core.bars.extents import Extents, Packing, find_packing
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, table_of
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest, SealedArtifact, packing_facts
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.testing import START, random_walk

NODE = NodeId.parse("ohlcv:okx:BTC/USDT:USDT:1m")
AS_OF = "2025-01-02T00:00:00.000000Z"


def encoded_before(bars: pa.Table) -> bytes:
    """Bars as the first version wrote them: the bytes of volumes split, and no column numbered."""
    sink = io.BytesIO()
    pq.write_table(
        bars.cast(pa.schema([field.with_nullable(False) for field in BARS_SCHEMA])),
        sink,
        compression={name: "none" if name == "ts" else "zstd" for name in COLUMNS},
        write_statistics=["ts"],
        use_dictionary=False,
        column_encoding={
            **dict.fromkeys(COLUMNS, "PLAIN"),
            "ts": "DELTA_BINARY_PACKED",
            "volume": "BYTE_STREAM_SPLIT",
        },
        store_schema=False,
        max_rows_per_page=131_072,
    )
    return sink.getvalue()


def sealed_before(artifact: SealedArtifact) -> SealedArtifact:
    """An artifact as the first version sealed it."""
    payload = encoded_before(artifact.bars)
    manifest = replace(
        artifact.manifest,
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        **packing_facts(artifact.manifest.policy, find_packing(payload, artifact.bars)),
    )
    return replace(artifact, manifest=manifest, payload=payload)


def with_extents(artifact: SealedArtifact, extents: Extents) -> SealedArtifact:
    """The artifact, its manifest telling other extents."""
    manifest = artifact.manifest
    return replace(artifact, manifest=replace(manifest, **packing_facts(manifest.policy, Packing(extents))))


def seal_bars(
    bars: pa.Table, partition: str, end: int | None = None, node: NodeId = NODE, **facts: object
) -> SealedArtifact:
    """An artifact of a node's bars, from the first up to `end`, with other `facts` in its manifest."""
    payload, frame = encode_bars(bars), node.timeframe
    interval = frame.seconds or str(frame)
    start = bars["ts"][0].as_py() if bars.num_rows else START
    manifest = Manifest(
        node_id=str(node),
        interval=interval,
        partition=partition,
        range=(start, end or frame.shift(start, bars.num_rows)),
        rows=bars.num_rows,
        dataset_fingerprint=fingerprint(bars, node_id=node, interval=frame),
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        conformance_version="v2",
        conformance_flags={},
        absent=(),
        missing=(),
        producer={"name": "test"},
        exchange=node.exchange,
        publication_watermark=start + 86_400,
        as_of=AS_OF,
        **packing_facts({}, find_packing(payload, bars)),
    )
    return SealedArtifact(node, replace(manifest, **facts), payload, bars)  # type: ignore[arg-type]


def sealed(rows: int = 10, end: int | None = None, **facts: object) -> SealedArtifact:
    """An artifact of `rows` bars of the first minutes of 2025."""
    made = ((ts, *values) for ts, values in random_walk(START, START + rows * 60).items())
    return seal_bars(table_of(made, BARS_SCHEMA), "2025-01-01", end, **facts)
