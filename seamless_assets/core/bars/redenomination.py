"""Bars told in another unit, as after a coin was redenominated."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, PRICES


def redenominated(bars: pa.Table, factor: float) -> pa.Table:
    """Bars with prices times `factor` and volumes divided by it, as their decimals say."""
    if factor == 1:
        return bars
    times = Fraction(repr(factor))
    columns = [bars.column("ts")]
    columns += [_scaled(bars.column(name), times) for name in PRICES]
    columns.append(_scaled(bars.column("volume"), 1 / times))
    return pa.table(columns, BARS_SCHEMA)


def _scaled(column: pa.ChunkedArray, times: Fraction) -> pa.Array:
    # An unknown volume stays unknown.
    return pa.array(
        [value if value != value else float(Fraction(repr(value)) * times) for value in column.to_pylist()],
        pa.float64(),
    )
