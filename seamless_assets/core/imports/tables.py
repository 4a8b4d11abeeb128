"""The bytes of a file as a table of columns, whichever format they are in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from seamless_assets.errors import ImportRefused, InvalidInput

MAX_ROWS = 50_000_000
"""Of one file: a century of minutes."""
Choose = Callable[[Sequence[str]], Sequence[str]]
"""Which of a file's columns are wanted."""
_LONGEST_LINE = 65_536
_DELIMITERS = ",;\t|"
_UNREADABLE = (pa.ArrowException, OSError, ValueError, ArithmeticError, KeyError, RecursionError, MemoryError)
_NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_Cell = str | int | float | bool | None


def read_csv(
    payload: bytes, where: str, positions: Callable[[int], Sequence[str]], choose: Choose
) -> pa.Table:
    """A table of lines, with a header or without; without one `positions` names the first of so many columns.

    Further columns are named by their place, counted from 0. Raises `ImportRefused`.
    """
    text = payload.removeprefix(b"\xef\xbb\xbf")
    cells, delimiter = _first_line(text, where)
    has_header = not any(map(_is_number, cells))
    names = cells if has_header else _placed(positions(len(cells)), len(cells))
    _refuse_repeated(names, where)
    wanted = list(choose(names))
    reading = pyarrow.csv.ReadOptions(column_names=names, skip_rows=1 if has_header else 0)
    parsing = pyarrow.csv.ParseOptions(delimiter=delimiter)
    converting = pyarrow.csv.ConvertOptions(include_columns=wanted)
    return _made(where, lambda: pyarrow.csv.read_csv(pa.BufferReader(text), reading, parsing, converting))


def read_parquet(payload: bytes, where: str, choose: Choose) -> pa.Table:
    """The wanted columns of a Parquet file. Raises `ImportRefused`."""

    def read() -> pa.Table:
        file = pq.ParquetFile(pa.BufferReader(payload))
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"it says that it holds {file.metadata.num_rows} rows")
        return file.read(list(choose(file.schema_arrow.names)))

    return _made(where, read)


def read_feather(payload: bytes, where: str, choose: Choose) -> pa.Table:
    """The wanted columns of a feather file (Arrow IPC). Raises `ImportRefused`."""

    def read() -> pa.Table:
        names = pa.ipc.open_file(pa.BufferReader(payload)).schema.names
        wanted = list(choose(names))
        options = pa.ipc.IpcReadOptions(included_fields=sorted(map(names.index, wanted)))
        file = pa.ipc.open_file(pa.BufferReader(payload), options=options)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for at in range(file.num_record_batches):
            batches.append(file.get_batch(at))
            rows += batches[-1].num_rows
            if rows > MAX_ROWS:
                raise ValueError(f"it holds more than {MAX_ROWS} rows")
        table = pa.Table.from_batches(batches, file.schema)
        table.validate(full=True)
        return table.select(wanted)

    return _made(where, read)


def read_json(payload: bytes, where: str, positions: Sequence[str], choose: Choose) -> pa.Table:
    """The rows of a JSON file: lists, whose first columns are named by `positions`, or objects.

    Raises `ImportRefused`.
    """

    try:
        rows = msgspec.json.decode(payload, type=list[list[_Cell]])
        if not rows:
            raise ImportRefused(f"{where} holds no rows", path=where)
        width = max(map(len, rows))
        if any(len(row) != width for row in rows):
            raise ImportRefused(f"{where}: its rows are not equally long", path=where)
        names = _placed(positions, width)
        columns: dict[str, Sequence[_Cell]] = dict(zip(names, zip(*rows, strict=True), strict=False))
    except msgspec.ValidationError:
        return _records(payload, where, choose)
    except _NO_JSON as error:
        raise ImportRefused(f"{where} is no whole JSON: {error}", path=where) from error
    return _columns(columns, names, where, choose)


def _records(payload: bytes, where: str, choose: Choose) -> pa.Table:
    try:
        records = msgspec.json.decode(payload, type=list[dict[str, _Cell]])
    except _NO_JSON as error:
        raise ImportRefused(f"{where} is no list of rows: {error}", path=where) from error
    names = list(records[0]) if records else []
    if any(record.keys() != records[0].keys() for record in records):
        raise ImportRefused(f"{where}: its rows have different names", path=where)
    return _columns({name: [record[name] for record in records] for name in names}, names, where, choose)


def _columns(
    columns: Mapping[str, Sequence[_Cell]], names: Sequence[str], where: str, choose: Choose
) -> pa.Table:
    return _made(where, lambda: pa.table({name: _array(columns.get(name, [])) for name in choose(names)}))


def _array(cells: Sequence[_Cell]) -> pa.Array:
    try:
        return pa.array(cells)
    except pa.ArrowException:  # numbers and texts in one column
        return pa.array([None if cell is None else str(cell) for cell in cells])


def _made(where: str, read: Callable[[], pa.Table]) -> pa.Table:
    try:
        table = read()
    except (ImportRefused, InvalidInput):
        raise
    except _UNREADABLE as error:
        raise ImportRefused(f"{where} cannot be read: {error}", path=where) from error
    if table.num_rows > MAX_ROWS:
        raise ImportRefused(f"{where} holds more than {MAX_ROWS} rows", path=where)
    return table


def _first_line(text: bytes, where: str) -> tuple[list[str], str]:
    """The cells of the first line, and what stands between them."""
    line = text[:_LONGEST_LINE].lstrip(b"\r\n").partition(b"\n")[0]
    try:
        first = line.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise ImportRefused(f"{where} is no text: {error}", path=where) from error
    if not first.strip() or "\0" in first:
        raise ImportRefused(f"{where} holds no lines of text", path=where)
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        (cells,) = csv.reader(io.StringIO(first), delimiter=delimiter)
    except (csv.Error, ValueError) as error:
        raise ImportRefused(f"{where}: its first line cannot be read: {error}", path=where) from error
    return [cell.strip() for cell in cells], delimiter


def _placed(positions: Sequence[str], width: int) -> list[str]:
    return [*positions[:width], *map(str, range(len(positions), width))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ImportRefused(f"{where}: columns {', '.join(repeated)} appear twice", path=where)
