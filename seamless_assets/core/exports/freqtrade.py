"""Bars as freqtrade keeps them: feather files named by pair and timeframe in its folder of an exchange.

Spot pairs lie in that folder, perpetual futures (`BTC/USDT:USDT`) in `futures` below it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute
import pyarrow.feather

from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.node import NodeId

_DATE = pa.timestamp("ms", tz="UTC")
_NAMES = ["date", *COLUMNS[1:]]
_REPLACED = str.maketrans(dict.fromkeys("/ .@$+:", "_"))


def encode(node: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """The one file of the node."""
    millis = pa.compute.multiply(bars.column("ts"), 1_000).cast(_DATE)
    table = pa.table([millis, *(bars.column(name) for name in COLUMNS[1:])], names=_NAMES)
    sink = io.BytesIO()
    pa.feather.write_feather(table, sink, compression="lz4", compression_level=9)
    yield file_name(node), sink.getvalue()


def decode(_: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file. Raises `ValueError` where it is not of this form."""
    (payload,) = files.values()
    table = pa.feather.read_table(pa.BufferReader(payload))
    if table.column_names != _NAMES:
        raise ValueError(f"its columns are {', '.join(table.column_names)}, not {', '.join(_NAMES)}")
    seconds = pa.compute.divide(table.column("date").cast(_DATE).cast(pa.int64()), 1_000)
    return pa.table([seconds, *table.columns[1:]], names=list(COLUMNS)).cast(BARS_SCHEMA)


def file_name(node: NodeId) -> str:
    """Where freqtrade looks for the node, in its folder of the exchange."""
    # M alone is its minute on disks where case does not count.
    timeframe = str(node.timeframe).replace("M", "Mo")
    name = f"{node.symbol.translate(_REPLACED)}-{timeframe}"
    return f"futures/{name}-futures.feather" if ":" in node.symbol else f"{name}.feather"
