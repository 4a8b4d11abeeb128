"""Bars as LEAN's data folder has them: zips of CSV below `crypto` (or `cryptofuture`) and the exchange.

Minutes are a zip a day, with milliseconds since midnight; hours and days are one zip, with times as text.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidChoice, InvalidInput

DAY = 86_400
RESOLUTIONS = {"1m": "minute", "1h": "hour", "1d": "daily"}
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""What a zip says of its members' times, so that equal bars give equal bytes."""
MAX_MEMBER_BYTES = 100_000_000
"""More than a century of hours takes."""
Bar = tuple[int, float, float, float, float, float]


def encode(node: NodeId, bars: pa.Table) -> Iterator[tuple[str, bytes]]:
    """The zips of the node, ascending. Raises `InvalidInput` for what LEAN has no form for."""
    folder, resolution, name = _place(node)
    if bars.column("volume").null_count or np.isnan(bars.column("volume").to_numpy()).any():
        raise InvalidInput(
            f"{node} has bars whose volume is not known, for which LEAN has no form; export another form",
            node_id=str(node),
        )
    rows = zip(*(bars.column(column).to_pylist() for column in COLUMNS), strict=True)
    if resolution != "minute":
        lines = (",".join((f"{_moment(row[0]):%Y%m%d %H:%M}", *_numbers(row))) for row in rows)
        yield f"{folder}/{name}_trade.zip", _zipped(f"{name}.csv", lines)
        return
    for day, held in groupby(rows, key=lambda row: row[0] // DAY):
        lines = (",".join((str(row[0] % DAY * 1_000), *_numbers(row))) for row in held)
        date = f"{_moment(day * DAY):%Y%m%d}"
        yield f"{folder}/{name}/{date}_trade.zip", _zipped(f"{date}_{name}_minute_trade.csv", lines)


def decode(node: NodeId, files: Mapping[str, bytes]) -> pa.Table:
    """The bars of the zips. Raises `ValueError` where they are not of this form."""
    _, resolution, _ = _place(node)
    bars: list[Bar] = []
    for path in sorted(files):
        start = _midnight(PurePosixPath(path).name[:8]) if resolution == "minute" else None
        for line in _lines(files[path]):
            time, *numbers = line.split(",")
            ts = _seconds(time) if start is None else start + int(time) // 1_000
            opened, high, low, close, volume = map(float, numbers)
            bars.append((ts, opened, high, low, close, volume))
    columns = zip(*bars, strict=True) if bars else [[]] * len(COLUMNS)
    return pa.table(
        [pa.array(list(column), f.type) for column, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA
    )


def _place(node: NodeId) -> tuple[str, str, str]:
    """The folder of the node's files, its resolution, and the symbol as LEAN writes it."""
    pair, _, settle = node.symbol.partition(":")
    if str(node.timeframe) not in RESOLUTIONS or "-" in settle:
        raise InvalidChoice(
            f"LEAN has no form for {node}: it has spot and perpetual futures of {', '.join(RESOLUTIONS)}",
            value=str(node),
            choices=tuple(RESOLUTIONS),
        )
    resolution = RESOLUTIONS[str(node.timeframe)]
    folder = f"{'cryptofuture' if settle else 'crypto'}/{node.exchange}/{resolution}"
    return folder, resolution, "".join(letter for letter in pair.lower() if letter.isalnum())


def _numbers(row: tuple[float, ...]) -> Iterator[str]:
    # LEAN reads no exponents.
    return (np.format_float_positional(value, trim="-") for value in row[1:])


def _moment(ts: int) -> datetime:
    return datetime.fromtimestamp(ts, UTC)


def _seconds(text: str) -> int:
    return int(datetime.strptime(f"{text}+0000", "%Y%m%d %H:%M%z").timestamp())


def _midnight(date: str) -> int:
    return _seconds(f"{date} 00:00")


def _zipped(name: str, lines: Iterable[str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        member = zipfile.ZipInfo(name, _EARLIEST)
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, "\n".join(lines))
    return sink.getvalue()


def _lines(payload: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        (member,) = archive.infolist()
        if member.file_size > MAX_MEMBER_BYTES:
            raise ValueError(f"{member.filename} would take {member.file_size} bytes")
        return archive.read(member).decode().splitlines()
