"""What a caller may say about the files of a form, beyond the form itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from seamless_assets.core.bars.parquet import COMPRESSIONS, FLOAT_ENCODINGS, TIME_ENCODINGS
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.timeframe import whole_number
from seamless_assets.core.reading.context import choose
from seamless_assets.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of forms; None: as the form has it by itself.

    `decimals` are those of an instrument's prices and sizes, `compression` is a codec of Parquet, and
    `encodings` are Parquet's encodings by column.
    """

    decimals: tuple[int, int] | None = None
    compression: str | None = None
    encodings: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, decimals: Any, compression: Any, encodings: Any) -> ExportOptions:
        """The options of a call's arguments. Raises `InvalidInput` and `InvalidChoice`."""
        return cls(
            decimals=None if decimals is None else _decimals(decimals),
            compression=None if compression is None else choose(compression, COMPRESSIONS, "compression"),
            encodings=None if encodings is None else _encodings(encodings),
        )

    def given(self) -> dict[str, Any]:
        """The options that were given, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def _decimals(said: Any) -> tuple[int, int]:
    counts = [whole_number(one) for one in said] if isinstance(said, Sequence) else []
    if len(counts) != 2 or counts[0] is None or counts[1] is None or min(counts[0], counts[1]) < 0:
        raise InvalidInput(
            f"decimals are {said!r}; give two whole numbers, those of prices and of sizes, such as (2, 6)",
            value=said,
        )
    return counts[0], counts[1]


def _encodings(said: Any) -> dict[str, str]:
    if not isinstance(said, Mapping):
        raise InvalidInput(
            f'encodings are {said!r}; give them by column, such as {{"volume": "BYTE_STREAM_SPLIT"}}',
            value=said,
        )
    return {
        choose(name, COLUMNS, "column"): choose(
            encoding, TIME_ENCODINGS if name == "ts" else FLOAT_ENCODINGS, f"encoding of {name}"
        )
        for name, encoding in said.items()
    }
