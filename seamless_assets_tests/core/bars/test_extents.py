"""Extents: what they say of a file is what the file holds, or they are not written."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.artifacts import encoded_before

from seamless_assets.core.bars.cells import bars_of, canonical_cells, empty_cells
from seamless_assets.core.bars.extents import VALUES, PackedFile, Packing, fill_values, find_packing
from seamless_assets.core.bars.parquet import encode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.testing import START, random_walk

BARS = table_of(((ts, *values) for ts, values in random_walk(START, START + 6_000).items()), BARS_SCHEMA)
MAGIC = np.frombuffer(bytes.fromhex("28b52ffd") * 2, "<f8")[0]
VALUE = st.one_of(
    st.floats(allow_infinity=False), st.sampled_from([0.0, -0.0, MAGIC]), st.integers(0, 999).map(float)
)


def packed(payload: bytes, bars: pa.Table) -> PackedFile:
    return PackedFile(payload, find_packing(payload, bars), bars.num_rows)


def values_of(*files: PackedFile) -> np.ndarray:
    cells = empty_cells(sum(file.rows for file in files))
    fill_values(cells, files)
    return cells[1:]


@given(
    st.lists(st.lists(st.tuples(*[VALUE] * len(VALUES)), min_size=1, max_size=40), max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_many_files_decode_to_their_bars_one_after_the_other(
    parts: list[list[tuple[float, ...]]], earlier: list[bool]
) -> None:
    """Those of the first version among them, whose volumes have their bytes split."""
    tables = [table_of(((START + 60 * n, *row) for n, row in enumerate(part)), BARS_SCHEMA) for part in parts]
    canonical = [bars_of(canonical_cells(bars)) for bars in tables]
    payloads = [
        encoded_before(bars) if is_earlier else encode_bars(bars)
        for bars, is_earlier in zip(canonical, earlier, strict=False)
    ]
    files = [packed(payload, bars) for payload, bars in zip(payloads, tables, strict=True)]
    assert all(len(file.packing.extents) == len(VALUES) for file in files)
    assert [file.packing.is_split for file in files] == earlier[: len(files)]
    expected = [canonical_cells(bars)[1:] for bars in tables] or [empty_cells(0)[1:]]
    assert np.array_equal(values_of(*files), np.concatenate(expected, axis=1))


@pytest.mark.parametrize("rows", [1, 20_000, 44_640, 131_072])
def test_a_month_of_minutes_has_one_page_a_column(rows: int) -> None:
    bars = pa.table(
        [START + 60 * np.arange(rows), *np.random.default_rng(1).normal(size=(5, rows))], BARS_SCHEMA
    )
    payload = encode_bars(bars)
    file = packed(payload, bars)
    assert np.array_equal(values_of(file), canonical_cells(bars)[1:])


def as_file(bars: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(bars, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    "payload",
    [
        *(encode_bars(BARS, other) for other in ("snappy", "lz4", "gzip", "none")),
        encode_bars(BARS.slice(1)),
        encode_bars(BARS.slice(1, 0)),
        as_file(BARS, compression="zstd"),
        as_file(BARS, compression="zstd", use_dictionary=False),
        as_file(BARS, compression="zstd", row_group_size=50),
        as_file(BARS.drop_columns(["close"]), compression="zstd"),
    ],
)
def test_a_file_that_is_packed_otherwise_or_holds_other_bars_has_none(payload: bytes) -> None:
    assert find_packing(payload, BARS) == Packing()


def test_extents_that_hold_something_else_are_refused() -> None:
    payload = encode_bars(BARS)
    file = packed(payload, BARS)
    assert np.array_equal(values_of(file), canonical_cells(BARS)[1:])
    extents = file.packing.extents
    wrong = [
        replace(file, rows=99),
        replace(file, rows=101),
        replace(file, payload=payload[: len(payload) // 2]),
        replace(file, packing=Packing(tuple((first + 1, size) for first, size in extents))),
        replace(file, packing=Packing(tuple((first, size - 1) for first, size in extents))),
        replace(file, packing=Packing(((0, 0),) * len(VALUES))),
    ]
    for other in wrong:
        with pytest.raises(pa.ArrowInvalid, match="its extent of"):
            values_of(other)
