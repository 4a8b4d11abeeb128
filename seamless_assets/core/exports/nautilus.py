"""Bars as a catalog of NautilusTrader has them: Parquet below `data/bar`, values in 128 bits of 1e-16.

A bar is stamped with its close, as Nautilus expects it. That width of values is what its packages for Linux
and macOS are built with; those for Windows read another.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, empty_bars
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidChoice, InvalidInput

DECIMALS = 16
"""Of the values in the files."""
_RAW, _FIXED = pa.binary(DECIMALS), pa.decimal128(38, DECIMALS)
_PRECISION = Decimal("5e-16")
"""How far off, by its size, a float may be that was computed: of decimals it keeps 15 digits."""
_HIGHEST = {"price": 17_014_118_346_046, "volume": 34_028_236_692_093}
_UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK", "M": "MONTH"}
_SECOND = 1_000_000_000
_WHEN = r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)-\d{9}Z"
_FILE = re.compile(rf"{_WHEN}_{_WHEN}\.parquet")
_STAMP = "%Y-%m-%dT%H-%M-%S"


def encode(
    node: NodeId, bars: pa.Table, decimals: tuple[int, int] | None = None
) -> Iterator[tuple[str, bytes]]:
    """The one file of the node; none without a bar.

    `decimals` are those of the instrument's prices and sizes; None: as many as the values have. Raises
    `InvalidInput` for values that Nautilus cannot hold, or that have more decimals than that.
    """
    instrument, bar_type = _names(node)
    if not bars.num_rows:
        return
    fixed = {name: _fixed(node, name, bars) for name in COLUMNS[1:]}
    prices = [fixed[name] for name in COLUMNS[1:5]]
    asked = decimals or (None, None)
    said = {
        "bar_type": bar_type,
        "instrument_id": instrument,
        "price_precision": str(_precision(node, "prices", prices, asked[0])),
        "size_precision": str(_precision(node, "volumes", [fixed["volume"]], asked[1])),
    }
    closes = _shifted(node, bars.column("ts").to_numpy(), 1)
    stamps = pa.array(closes.astype(np.uint64) * np.uint64(_SECOND))
    columns = [*(_raw(values) for values in fixed.values()), stamps, stamps]
    names = [*fixed, "ts_event", "ts_init"]
    schema = pa.schema(
        [pa.field(name, one.type, nullable=False) for name, one in zip(names, columns, strict=True)], said
    )
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema), sink, compression="zstd", row_group_size=100_000)
    yield f"data/bar/{bar_type}/{_moment(closes[0])}_{_moment(closes[-1])}.parquet", sink.getvalue()


def decode(node: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the one file, or of none. Raises `ValueError` where it is not of this form."""
    if not files:
        return empty_bars()
    (payload,) = files.values()
    table = pq.read_table(pa.BufferReader(payload))
    said = (table.schema.metadata or {}).get(b"bar_type", b"").decode(errors="replace")
    if said != _names(node)[1] or table.column_names[: len(COLUMNS)] != [*COLUMNS[1:], "ts_event"]:
        raise ValueError(f"it holds {said or 'no bars of Nautilus'}, not {_names(node)[1]}")
    seconds = (table.column("ts_event").to_numpy() // np.uint64(_SECOND)).astype(np.int64)
    opens = _shifted(node, seconds, -1)
    values = [_floats(table.column(name).combine_chunks()) for name in COLUMNS[1:]]
    return pa.table([pa.array(opens), *values], BARS_SCHEMA)


def held(node: NodeId, bars: pa.Table) -> pa.Table:
    """Bars as `decode` gives them of what `encode` writes. Raises `InvalidInput` as that does."""
    values = [_fixed(node, name, bars).cast(pa.string()).cast(pa.float64()) for name in COLUMNS[1:]]
    return pa.table([bars.column("ts"), *values], BARS_SCHEMA)


def overlap(path: str, other: str) -> bool:
    """Whether two files of one folder are about the same time: Nautilus would read their bars twice."""
    one, two = _span(path), _span(other)
    return one is not None and two is not None and one.start <= two.end and two.start <= one.end


def _names(node: NodeId) -> tuple[str, str]:
    """The instrument and the bar type, as Nautilus writes them."""
    pair, _, settle = node.symbol.partition(":")
    count, unit = str(node.timeframe)[:-1], str(node.timeframe)[-1]
    if "-" in settle or unit not in _UNITS:
        raise InvalidChoice(
            f"Nautilus has no form for {node} here: spot and perpetual futures of seconds to months",
            value=str(node),
            choices=tuple(_UNITS),
        )
    symbol = pair.replace("/", "") + ("-PERP" if settle else "")
    instrument = f"{symbol}.{node.exchange.upper()}"
    return instrument, f"{instrument}-{count}-{_UNITS[unit]}-LAST-EXTERNAL"


def _fixed(node: NodeId, name: str, bars: pa.Table) -> pa.Array:
    """A column of floats as the decimals that they are written as."""
    values = bars.column(name).combine_chunks()
    highest = _HIGHEST["volume" if name == "volume" else "price"]
    floats = values.to_numpy(zero_copy_only=False)
    if values.null_count or not (np.isfinite(floats) & (np.abs(floats) <= highest)).all():
        raise InvalidInput(
            f"{node} has bars whose {name} is not known or above {highest}, for which Nautilus has no form; "
            "export another form",
            node_id=str(node),
        )
    try:
        fixed: pa.Array = values.cast(pa.string()).cast(_FIXED)
    except pa.ArrowInvalid:
        rounded = [
            _rounded(node, name, *one)
            for one in zip(bars.column("ts").to_pylist(), floats.tolist(), strict=True)
        ]
        fixed = pa.array(rounded, pa.string()).cast(_FIXED)
    return fixed


def _rounded(node: NodeId, name: str, opened: int, value: float) -> str:
    """A value in at most `DECIMALS` decimals: rounded where 15 digits stay, as of 0.1 + 0.2."""
    exact = Decimal(repr(value))
    # A float from 10 on has fewer decimals, and may have more digits in all than Python rounds decimals to.
    near = round(exact, DECIMALS) if abs(value) < 10 else exact
    if abs(near - exact) > abs(exact) * _PRECISION:
        raise InvalidInput(
            f"{node} has bars whose {name} has more than {DECIMALS} decimals, as {value!r} of "
            f"{seconds_text(opened)}, and Nautilus has no more; export another form",
            node_id=str(node),
            value=value,
        )
    return f"{near:f}"


def _precision(node: NodeId, what: str, columns: list[pa.Array], asked: int | None) -> int:
    """How many decimals the values have, or as many as were asked for."""
    needed = next(count for count in range(DECIMALS + 1) if all(_fits(one, count) for one in columns))
    if asked is None:
        return needed
    if not needed <= asked <= DECIMALS:
        raise InvalidInput(
            f"{node}: its {what} have {needed} decimals, and {asked} were asked for; Nautilus has at most "
            f"{DECIMALS}",
            value=asked,
        )
    return asked


def _fits(fixed: pa.Array, decimals: int) -> bool:
    return bool(pc.all(pc.equal(pc.round(fixed, decimals), fixed)).as_py())


def _raw(fixed: pa.Array) -> pa.Array:
    """The same memory as bytes: Arrow's decimals are whole numbers of 1e-16 in 128 bits, as Nautilus's."""
    return pa.Array.from_buffers(_RAW, len(fixed), [None, fixed.buffers()[1]], offset=fixed.offset)


def _floats(raw: pa.Array) -> pa.Array:
    if raw.type != _RAW or raw.null_count:
        raise ValueError("its values are not of 128 bits")
    fixed = pa.Array.from_buffers(_FIXED, len(raw), [None, raw.buffers()[1]], offset=raw.offset)
    return fixed.cast(pa.string()).cast(pa.float64())


def _shifted(node: NodeId, opens: np.ndarray, bars: int) -> np.ndarray:
    """Opens (epoch seconds) so many bars later."""
    step = node.timeframe.seconds
    if step is not None:
        return opens + bars * step
    return np.array([node.timeframe.shift(open_, bars) for open_ in opens.tolist()], dtype=np.int64)


def _moment(second: int) -> str:
    return f"{datetime.fromtimestamp(int(second), UTC):{_STAMP}}-000000000Z"


def _span(path: str) -> Segment | None:
    found = _FILE.fullmatch(path.rpartition("/")[2])
    if found is None:
        return None
    start, end = map(_second, found.groups())
    return Segment(start, max(start, end))


def _second(stamp: str) -> int:
    return int(datetime.strptime(f"{stamp}+0000", f"{_STAMP}%z").timestamp())
