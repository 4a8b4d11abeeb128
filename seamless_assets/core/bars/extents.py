"""Bars of many small Parquet files decoded at once, from where their compressed values lie.

Opening a Parquet file takes a tenth of a millisecond however few bars it holds, so that a year of daily files
is mostly openings. Zstandard frames that stand in a row are one stream: with their places known, a column of
all the files is decompressed by one call, to where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cramjam import DecompressionError, zstd

from seamless_assets.core.bars.cells import CELL_BYTES, canonical_cells, empty_cells
from seamless_assets.core.bars.table import COLUMNS

VALUES = COLUMNS[1:]
"""The columns that are read this way; `ts` follows from a manifest's range and gaps."""
_FRAME_START = bytes.fromhex("28b52ffd")
_SPLIT, _SPLIT_COLUMN = "BYTE_STREAM_SPLIT", "volume"

Extents = tuple[tuple[int, int], ...]
"""Where the one page of each of `VALUES` has its compressed bytes: the first, and how many."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the values of a file lie; no `extents` where only a Parquet reader can find them.

    `is_split` is said of files by earlier versions: the bytes of a volume do not stand side by side.
    """

    extents: Extents = ()
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A Parquet file of so many bars whose packing is known."""

    payload: bytes = field(repr=False)
    packing: Packing
    rows: int


def find_packing(payload: bytes, bars: pa.Table) -> Packing:
    """The packing of a file of these bars; without extents where decoding them would not give just these."""
    footer = pq.read_metadata(pa.BufferReader(payload))
    if footer.num_row_groups != 1 or footer.num_columns != len(COLUMNS):
        return Packing()
    columns = [footer.row_group(0).column(at) for at in range(1, len(COLUMNS))]
    extents = []
    for chunk in columns:
        stop = chunk.data_page_offset + chunk.total_compressed_size
        # A header of a few bytes comes first. Where no frame follows, what is decoded below tells.
        first = max(0, payload.find(_FRAME_START, chunk.data_page_offset, stop))
        extents.append((first, stop - first))
    file = PackedFile(payload, Packing(tuple(extents), _SPLIT in columns[-1].encodings), bars.num_rows)
    cells = empty_cells(bars.num_rows)
    try:
        fill_values(cells, [file])
    except pa.ArrowInvalid:
        return Packing()
    return file.packing if np.array_equal(cells[1:], canonical_cells(bars)[1:]) else Packing()


def fill_values(cells: np.ndarray, files: Sequence[PackedFile]) -> None:
    """Write the values of files, one after the other, into cells for just so many; `ts` is left alone.

    Raises `pyarrow.ArrowInvalid` where the extents hold something else.
    """
    first = 0
    for is_split, alike in groupby(files, key=lambda file: file.packing.is_split):
        group = list(alike)
        stop = first + sum(file.rows for file in group)
        _fill_alike(cells[1:, first:stop], group, _SPLIT_COLUMN if is_split else None)
        first = stop


def _fill_alike(values: np.ndarray, files: Sequence[PackedFile], split: str | None) -> None:
    # Views of bytes spare them being copied before they are joined.
    packed = [(memoryview(file.payload), file.packing.extents) for file in files]
    for at, (name, place) in enumerate(zip(VALUES, values, strict=True)):
        stream = b"".join([payload[extents[at][0] : sum(extents[at])] for payload, extents in packed])
        decoded = np.empty(place.nbytes, np.uint8) if name == split else place.view(np.uint8)
        try:
            size = zstd.decompress_into(stream, decoded.data)
        except DecompressionError as error:
            raise pa.ArrowInvalid(f"its extent of {name} cannot be decompressed: {error}") from error
        if size != place.nbytes:
            raise pa.ArrowInvalid(f"its extent of {name} holds {size} bytes, not {place.nbytes}")
        if name == split:
            _join_bytes(place, decoded, [file.rows for file in files])


def _join_bytes(place: np.ndarray, split: np.ndarray, parts: Sequence[int]) -> None:
    """Values from parts of so many values each: all their first bytes, then all their second ones."""
    first = 0
    for rows, alike in groupby(parts):
        many = len(list(alike))
        stop = first + many * rows * CELL_BYTES
        values = place.view(np.uint8)[first:stop].reshape(many, rows, CELL_BYTES)
        bytes_apart = split[first:stop].reshape(many, CELL_BYTES, rows)
        for at in range(CELL_BYTES):
            values[:, :, at] = bytes_apart[:, at]
        first = stop
