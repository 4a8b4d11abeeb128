"""Sealed bars: what other engines find in the file, and files by other writers."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
from twins import START, walk

from seamless_assets.core.bars import BARS_SCHEMA, COLUMNS, table_of
from seamless_assets.core.parquet import decode_bars, encode_bars

BARS = table_of(((ts, *values) for ts, values in walk(START, START + 86_400).items()), BARS_SCHEMA)


def test_prices_are_zstd_and_files_can_be_chosen_by_time() -> None:
    columns = pq.ParquetFile(pa.BufferReader(encode_bars(BARS))).metadata.row_group(0).to_dict()["columns"]
    assert [column["path_in_schema"] for column in columns] == list(COLUMNS)
    assert {column["compression"] for column in columns[1:]} == {"ZSTD"}
    told = columns[0]["statistics"]
    assert (told["min"], told["max"]) == (START, START + 86_400 - 60)


def test_bars_come_back_whoever_wrote_the_file() -> None:
    assert decode_bars(encode_bars(BARS)) == BARS
    assert encode_bars(pa.concat_tables([BARS.slice(0, 7), BARS.slice(7)])) == encode_bars(BARS)
    sink = io.BytesIO()
    pq.write_table(BARS.cast(pa.schema([field.with_nullable(False) for field in BARS_SCHEMA])), sink)
    assert decode_bars(sink.getvalue()) == BARS
    assert decode_bars(sink.getvalue()).schema == BARS_SCHEMA
