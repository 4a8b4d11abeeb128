"""Sealed bars: what other engines find in the file, and files by other writers."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.artifacts import encoded_before

from seamless_assets.core.bars.parquet import decode_bars, encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, table_of
from seamless_assets.testing import START, random_walk

BARS = table_of(((ts, *values) for ts, values in random_walk(START, START + 86_400).items()), BARS_SCHEMA)


def test_prices_are_zstd_and_files_can_be_chosen_by_time() -> None:
    columns = pq.ParquetFile(pa.BufferReader(encode_bars(BARS))).metadata.row_group(0).to_dict()["columns"]
    assert [column["path_in_schema"] for column in columns] == list(COLUMNS)
    assert {column["compression"] for column in columns[1:]} == {"ZSTD"}
    statistics = columns[0]["statistics"]
    assert (statistics["min"], statistics["max"]) == (START, START + 86_400 - 60)


def test_columns_are_numbered_and_encoded_as_most_engines_read_them() -> None:
    payload = pa.BufferReader(encode_bars(BARS))
    numbers = [field.metadata[b"PARQUET:field_id"] for field in pq.read_schema(payload)]
    assert numbers == [b"1", b"2", b"3", b"4", b"5", b"6"]
    group = pq.read_metadata(payload).row_group(0)
    used = [set(group.column(at).encodings) - {"RLE"} for at in range(len(COLUMNS))]
    assert used == [{"DELTA_BINARY_PACKED"}, *[{"PLAIN"}] * 5]


def test_bars_come_back_whoever_wrote_the_file() -> None:
    for payload in (encode_bars(BARS), encoded_before(BARS)):
        assert decode_bars(payload) == BARS
        assert decode_bars(payload).schema.equals(BARS_SCHEMA, check_metadata=True)
    assert encode_bars(pa.concat_tables([BARS.slice(0, 7), BARS.slice(7)])) == encode_bars(BARS)
    for schema in (BARS_SCHEMA, pa.schema([field.with_nullable(False) for field in BARS_SCHEMA])):
        decoded = decode_bars(as_file(BARS.cast(schema)))
        assert decoded == BARS and decoded.schema == BARS_SCHEMA


def test_a_bar_is_written_in_the_bits_that_are_hashed_and_no_cell_is_null() -> None:
    zeros = [BARS.slice(0, 2).set_column(5, "volume", pa.array(pair)) for pair in ([0.0, -0.0], [-0.0, 0.0])]
    assert encode_bars(zeros[0]) == encode_bars(zeros[1])
    unknown = BARS.slice(0, 2).set_column(5, "volume", pa.array([None, 1.0], pa.float64()))
    assert np.isnan(decode_bars(encode_bars(unknown))["volume"][0].as_py())
    assert not any(field.nullable for field in pq.read_schema(pa.BufferReader(encode_bars(BARS))))


@pytest.mark.parametrize(
    "other",
    [
        BARS.set_column(0, "ts", pa.nulls(BARS.num_rows, pa.int64())),
        BARS.drop_columns(["volume"]),
        BARS.set_column(1, "open", pa.array(["x"] * BARS.num_rows)),
    ],
)
def test_a_file_of_other_columns_holds_no_bars(other: pa.Table) -> None:
    with pytest.raises(pa.ArrowInvalid, match="not those of bars"):
        decode_bars(as_file(other))


def as_file(bars: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(bars, sink)
    return sink.getvalue()
