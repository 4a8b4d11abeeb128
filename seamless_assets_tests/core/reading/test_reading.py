"""A result's frames: what Arrow's own conversion gives, and the caller's to change."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from seamless_assets.core.bars import frames
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.testing.twins import START, walk

NO_METADATA: Any = None


@pytest.mark.parametrize("many", [1, 20, 1_000])
@pytest.mark.parametrize("columns", [[field.name for field in BARS_SCHEMA], ["ts"], ["close", "ts", "open"]])
def test_a_pandas_frame_is_arrows_own_and_a_copy(
    columns: list[str], many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_MANY_ROWS", many)
    rows = [(ts, *values) for ts, values in walk(START, START + 3_600).items()]
    rows[7] = (*rows[7][:5], None)  # type: ignore[assignment]
    whole = pa.Table.from_pylist(
        [dict(zip(BARS_SCHEMA.names, row, strict=True)) for row in rows], BARS_SCHEMA
    )
    for bars in (whole, pa.concat_tables([whole.slice(0, 7), whole.slice(7, 9), whole.slice(16)]), whole[:0]):
        result = ReadResult(bars.select(columns), NO_METADATA)
        frame = result.to_pandas()
        pd.testing.assert_frame_equal(frame, bars.select(columns).to_pandas())
        if frame.size:
            frame.loc[0, columns[0]] = 1
            assert result.to_pandas().loc[0, columns[0]] != 1
