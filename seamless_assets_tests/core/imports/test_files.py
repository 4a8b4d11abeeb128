"""Files that people have: what each format gives, and what of hostile and broken ones comes through."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.imports.archives import MAX_MEMBERS
from seamless_assets.core.imports.bars import ImportedBars, imported_bars
from seamless_assets.core.imports.columns import CANDLES, TRADES, Layout
from seamless_assets.core.imports.files import tables_of, verify_checksum
from seamless_assets.core.imports.rows import ReadingOptions, Rows, Source
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ImportRefused, InvalidInput, SeamlessError
from seamless_assets.testing import START, make_bars

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
BARS = make_bars(START, START + 3_600)
TIMES = [int(ts) for ts in BARS["ts"].to_pylist()]
VALUES = list(zip(*(BARS[name].to_pylist() for name in COLUMNS[1:]), strict=True))


def imported(
    *files: tuple[str, bytes],
    layout: Layout = CANDLES,
    rename: Mapping[Any, str] | None = None,
    node: NodeId = NODE,
    **options: Any,
) -> ImportedBars:
    rows = [
        Rows(Source(name, sha256_text(payload), len(payload)), where, table)
        for name, payload in files
        for where, table in tables_of(name, payload, layout, rename or {})
    ]
    return imported_bars(node, rows, ReadingOptions(is_trades=layout is TRADES, **options), {})


def lines(times: list[Any], header: str = "", more: str = "", between: str = ",") -> bytes:
    rows = [between.join(map(str, (ts, *row))) + more for ts, row in zip(times, VALUES, strict=True)]
    return "\n".join(([header] if header else []) + rows).encode()


def zipped(members: Mapping[str, bytes], **how: Any) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink)
    return sink.getvalue()


def feather(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa.feather.write_feather(table, sink, compression="lz4")
    return sink.getvalue()


MS, US = [ts * 1_000 for ts in TIMES], [ts * 1_000_000 for ts in TIMES]
VISION = ",0,0.0,12,0.1,0.1,0"
VISION_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
TEXTS = [str(np.datetime64(ts, "s")).replace("T", " ") for ts in TIMES]
BOT = pa.table([pa.array(MS, pa.timestamp("ms", "UTC")), *BARS.columns[1:]], names=["date", *COLUMNS[1:]])
FILES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "ours": ("a.csv", lines(TIMES, ",".join(COLUMNS)), {}),
    "no header, ms": ("BTCUSDT-1m-2025-01.csv", lines(MS, more=VISION), {}),
    "vision zip, ms": ("a.zip", zipped({"BTCUSDT-1m-2024-01.csv": lines(MS, more=VISION)}), {}),
    "vision zip, us": ("a.zip", zipped({"a.csv": lines(US, more=VISION)}), {}),
    "vision zip, header": ("a.zip", zipped({"a.csv": lines(MS, VISION_HEADER, VISION)}), {}),
    "two in a zip": ("a.zip", zipped({"a.csv": lines(MS), "b/b.csv": lines(TIMES)}), {}),
    "gzip": ("a.csv.gz", gzip.compress(lines(MS)), {}),
    "semicolons and a byte order mark": (
        "a.csv",
        b"\xef\xbb\xbf" + lines(TIMES, "Date;Open;High;Low;Close;Volume", between=";"),
        {},
    ),
    "lines of Windows": ("a.csv", lines(TIMES, "t,open,high,low,close,volume").replace(b"\n", b"\r\n"),
                         {"rename": {"t": "ts"}}),
    "naive times": ("a.csv", lines(TEXTS, "time,open,high,low,close,volume"), {"tz": "UTC"}),
    "a zone": (
        "a.csv",
        lines([str(np.datetime64(ts + 9 * 3_600, "s")) for ts in TIMES], "time,o,h,l,c,v"),
        {"tz": "Asia/Tokyo"},
    ),
    "a form of times": (
        "a.csv",
        lines([text.replace("-", "").replace(":", "") for text in TEXTS], "time,o,h,l,c,v"),
        {"time_format": "%Y%m%d %H%M%S"},
    ),
    "places renamed": (
        "a.csv",
        lines([f"x,{ts}" for ts in TIMES]),
        {"rename": {"1": "ts", 2: "open", 3: "high", 4: "low", 5: "close", 6: "volume"}},
    ),
    "parquet": ("a.parquet", parquet(BARS), {}),
    "parquet of times": ("a.parquet", parquet(BOT.append_column("x", pa.array(["x"] * len(MS)))), {}),
    "freqtrade's feather": ("BTC_USDT-1m.feather", feather(BOT), {}),
    "freqtrade's json": (
        "BTC_USDT-1m.json",
        json.dumps([[ts, *row] for ts, row in zip(MS, VALUES, strict=True)]).encode(),
        {},
    ),
    "gzip in two members": (
        "a.csv.gz",
        gzip.compress(lines(TIMES)[:700]) + gzip.compress(lines(TIMES)[700:]),
        {},
    ),
    "names of two columns that differ in more than case": (
        "a.csv", lines([f"{at},{ts}" for at, ts in enumerate(TIMES)], "date,ts,o,h,l,c,v"), {}
    ),
    "records": (
        "a.json",
        json.dumps([dict(zip(COLUMNS, (str(ts), *map(str, row)), strict=True))
                    for ts, row in zip(MS, VALUES, strict=True)]).encode(),
        {},
    ),
    "newest first, twice": (
        "a.csv", b"\n".join([*reversed(lines(TIMES).splitlines()), *lines(TIMES).splitlines()]), {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_form_of_file_gives_the_bars_that_are_in_it(name: str) -> None:
    file, payload, how = FILES[name]
    made = imported((file, payload), **how)
    assert made.bars.equals(BARS) and made.window == (START, START + 3_600)
    (source,) = made.sources_of(made.window)
    assert (source.name, source.sha256) == (file, sha256_text(payload))


def test_files_are_joined_and_say_which_of_them_is_about_what() -> None:
    first = (
        ("1.csv", b"\n".join(lines(TIMES).splitlines()[:40])),
        ("2.csv", b"\n".join(lines(MS).splitlines()[30:])),
    )
    made = imported(*first)
    assert made.bars.equals(BARS) and made.flags["duplicate_ts"] == 10
    assert [source.name for source in made.sources_of(Segment(START, START + 60))] == ["1.csv"]
    assert [source.name for source in made.sources_of(made.window)] == ["1.csv", "2.csv"]


def test_a_window_leaves_out_what_lies_beside_it() -> None:
    window = Segment(START + 600, START + 7_200)
    made = imported(("a.csv", lines(TIMES)), window=window)
    assert made.bars.equals(BARS.slice(10)) and made.window == window and made.left_out == 10


REFUSED: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "empty": ("a.csv", b"", {}, "no lines"),
    "no rows": ("a.csv", b"ts,open,high,low,close,volume\n", {}, "no bar"),
    "not text": ("a.csv", b"\xff\xfe\x00\x01", {}, "no text"),
    "wrong columns": ("a.csv", lines(TIMES, "ts,open,high,low,price,volume"), {}, "no column for close"),
    "columns twice": ("a.csv", lines(TIMES, "ts,open,open,low,close,volume"), {}, "twice"),
    "half a line": ("a.csv", lines(TIMES)[:-40], {}, "cannot be read"),
    "half a zip": ("a.zip", zipped({"a.csv": lines(MS)})[:-30], {}, "no whole zip"),
    "half a parquet": ("a.parquet", parquet(BARS)[:-30], {}, "cannot be read"),
    "half a feather": ("a.feather", feather(BOT)[:-30], {}, "cannot be read"),
    "half a json": ("a.json", b"[[1,2,3,4,5,6],[1,", {}, "no whole JSON"),
    "half a gzip": ("a.csv.gz", gzip.compress(lines(MS))[:-9], {}, "no whole gzip"),
    "uneven json": ("a.json", b"[[1,2,3,4,5,6],[1,2]]", {}, "equally long"),
    "no json rows": ("a.json", b"[]", {}, "holds no rows"),
    "columns alike": (
        "a.csv",
        lines([f"{ts},{ts}" for ts in TIMES], "ts,Ts,o,h,l,c,v"),
        {},
        "2 columns for ts",
    ),
    "parquet without a column": (
        "a.parquet",
        parquet(BARS.drop_columns(["low"])),
        {},
        "^a.parquet has no col",
    ),
    "gzip and more": ("a.csv.gz", gzip.compress(lines(MS)) + b"more", {}, "no whole gzip"),
    "no gzip": ("a.csv.gz", b"", {}, "no whole gzip"),
    "a gzip bomb": ("a.csv.gz", gzip.compress(b"0" * 50_000_000), {}, "unpack"),
    "a time twice": (
        "a.csv",
        b"ts,o,h,l,c,v\n2025-10-26 02:30:00,1,1,1,1,1",
        {"tz": "Europe/Berlin"},
        "first is 2025-10-26 02:30:00.*skips or has twice",
    ),
    "a time that was skipped": (
        "a.csv",
        b"ts,o,h,l,c,v\n2025-03-30 02:30:00,1,1,1,1,1",
        {"tz": "Europe/Berlin"},
        "skips or has twice",
    ),
    "deep json": ("a.json", b"[" * 100_000, {}, "list of rows"),
    "dates as numbers": ("a.csv", b"20250101,1,1,1,1,1", {}, "2009"),
    "another form of times": ("a.csv", lines(TIMES), {"time_format": "%Y%m%d"}, "form"),
    "two bars of one open": ("a.csv", lines(TIMES) + b"\n" + b"%d,1,1,1,1,1" % START, {}, "conflicting_ts"),
    "high below low": ("a.csv", b"%d,1,1,2,1,1" % START, {}, "ohlc_inconsistent"),
    "no price": ("a.csv", b"ts,o,h,l,c,v\n%d,,1,1,1,1" % START, {}, "non_finite"),
    "beside the grid": ("a.csv", lines([ts + 17 for ts in TIMES]), {}, "misaligned_ts"),
    "one row beside the grid": ("a.csv", lines([*TIMES[:-1], TIMES[-1] + 1]), {}, "1 of .* rows do not open"),
    "finer": ("a.csv", lines([START + at * 20 for at in range(60)]), {}, "40 of 60 rows do not open"),
    "of ninety seconds": ("a.csv", lines([START + at * 90 for at in range(60)]), {}, "30 of 60 rows"),
    "coarser": ("a.csv", lines([START + at * 300 for at in range(60)]), {}, "300 seconds"),
    "another ending": ("a.xlsx", b"PK", {}, "ending"),
    "outside": ("a.zip", zipped({"../a.csv": lines(MS)}), {}, "outside"),
    "outside on Windows": ("a.zip", zipped({"..\\a.csv": lines(MS)}), {}, "outside"),
    "absolute": ("a.zip", zipped({"/etc/a.csv": lines(MS)}), {}, "outside"),
    "a drive": ("a.zip", zipped({"C:\\a.csv": lines(MS)}), {}, "outside"),
    "a bomb": ("a.zip", zipped({"a.csv": b"0" * 50_000_000}), {}, "unpack"),
    "many members": ("a.zip", zipped({f"{at}.csv": b"" for at in range(MAX_MEMBERS + 1)}), {}, "the most"),
    "an archive within": ("a.zip", zipped({"b.zip": zipped({"a.csv": b"1"})}), {}, "archive in an archive"),
    "nothing in it": ("a.zip", zipped({}), {}, "empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_bars_is_refused_with_its_reason(name: str) -> None:
    file, payload, how, why = REFUSED[name]
    with pytest.raises(ImportRefused, match=why) as refused:
        imported((file, payload), **how)
    assert ("no whole" in str(refused.value)) == ("no whole" in why)


def test_a_gzip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamless_assets.core.imports.archives.MAX_BYTES", 2**20)
    with pytest.raises(ImportRefused, match="unpack"):
        imported(("a.csv.gz", gzip.compress(b"0" * 2**22)))


def test_a_gzip_of_many_members_is_read_once() -> None:
    """Each of them would otherwise copy all that follows."""
    member = gzip.compress(b"")
    whole = gzip.compress(lines(TIMES)) + member * 100_000
    assert imported(("a.csv.gz", whole)).bars == imported(("a.csv", lines(TIMES))).bars


def test_a_zip_that_lies_of_its_sizes_is_not_unpacked() -> None:
    payload = bytearray(zipped({"a.csv": b"0" * 50_000_000}))
    at = payload.rindex(b"PK\x01\x02") + 24
    payload[at : at + 4] = (100).to_bytes(4, "little")
    with pytest.raises(ImportRefused):
        imported(("a.zip", bytes(payload)))


def test_links_and_passwords_are_refused() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        link = zipfile.ZipInfo("a.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ImportRefused, match="link"):
        imported(("a.zip", sink.getvalue()))
    locked = bytearray(zipped({"a.csv": lines(MS)}))
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        locked[locked.rindex(mark) + place] |= 1
    with pytest.raises(ImportRefused, match="password"):
        imported(("a.zip", bytes(locked)))


def test_files_that_contradict_each_other_are_refused_by_their_names() -> None:
    with pytest.raises(ImportRefused, match=r"1\.csv, 2\.csv.*2025-01-01T00:01:00Z"):
        imported(("1.csv", lines(TIMES)), ("2.csv", b"%d,1,1,1,1,1" % (START + 60)))


@pytest.mark.parametrize(
    "how",
    [
        {"tz": "Mars/Olympus"},
        {"tz": "Asia/Tokyo"},
        {"rename": {"nothing": "ts"}},
        {"rename": {"0": "ts", "1": "ts"}},
        {"rename": {"0": "when"}},
        {"rename": ["ts"]},
        {"time_format": 3},
    ],
)
def test_what_is_said_of_columns_and_times_is_used_or_refused(how: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        imported(("a.csv", lines(TIMES)), **how)


def test_checksums_are_those_of_the_file() -> None:
    digest = sha256_text(b"held").removeprefix("sha256:")
    verify_checksum("a.zip", b"held", f"{digest}  a.zip\n".encode())
    verify_checksum("a.zip", b"held", f"{'0' * 64}  b.zip\n{digest.upper()} *x/a.zip\n".encode())
    for said in (f"{'0' * 64}  a.zip", f"{digest}  b.zip", "", "\x00\xff"):
        with pytest.raises(ImportRefused, match=r"a\.zip"):
            verify_checksum("a.zip", b"held", said.encode("latin-1"))


def trade_lines(trades: list[tuple[Any, ...]]) -> bytes:
    return "\n".join(",".join(map(str, trade)) for trade in trades).encode()


TRADED = [(7, 100.0, 0.1, START * 1_000 + 10), (8, 101.0, 0.2, START * 1_000 + 10),
          (9, 99.0, 1, (START + 61) * 1_000), (10, 98.0, 1, (START + 200) * 1_000)]  # fmt: skip
TRADE_FILES: dict[str, tuple[str, bytes]] = {
    "vision": ("a.zip", zipped({"a.csv": trade_lines(
        [(i, p, q, p * q, at, True, True) for i, p, q, at in TRADED])})),
    "vision, us": ("a.csv", trade_lines(
        [(i, p, q, p * q, at * 1_000, True, True) for i, p, q, at in TRADED])),
    "aggregates": ("a.csv", trade_lines([(i, p, q, i, i, at, True, True) for i, p, q, at in TRADED])),
    "kraken": ("a.csv", trade_lines([(at / 1_000, p, q) for _, p, q, at in TRADED])),
    "freqtrade": ("a.json", json.dumps(
        [[at, str(i), None, "buy", p, q, p * q] for i, p, q, at in TRADED]).encode()),
    "named, newest first": ("a.csv", b"time,price,qty,id\n" + trade_lines(
        [(at, p, q, i) for i, p, q, at in TRADED[::-1]])),
}  # fmt: skip


@pytest.mark.parametrize("name", TRADE_FILES)
def test_trades_of_every_form_give_their_bars(name: str) -> None:
    window = Segment(START, START + 240)
    made = imported(TRADE_FILES[name], layout=TRADES, window=window)
    first = (START, 100.0, 101.0, 100.0, 101.0, 0.3)
    assert [tuple(row.values()) for row in made.bars.to_pylist()] == [
        first,
        (START + 60, 99.0, 99.0, 99.0, 99.0, 1.0),
        (START + 180, 98.0, 98.0, 98.0, 98.0, 1.0),
    ]
    whole = imported(TRADE_FILES[name], layout=TRADES)
    assert whole.bars["ts"].to_pylist() == [START + 60] and whole.left_out == 3


def test_a_trade_in_two_files_counts_once_and_twice_otherwise_is_refused() -> None:
    window = Segment(START, START + 240)
    name, payload = TRADE_FILES["aggregates"]
    once, twice = (imported(*([(name, payload)] * times), layout=TRADES, window=window) for times in (1, 2))
    assert twice.bars.equals(once.bars)
    other = payload.replace(b"98.0", b"97.0")
    with pytest.raises(ImportRefused, match="the id 10"):
        imported((name, payload), (name, other), layout=TRADES, window=window)
    with pytest.raises(ImportRefused, match="no ids"):
        imported(*([TRADE_FILES["kraken"]] * 2), layout=TRADES, window=window)


@pytest.mark.parametrize("column", [(1, 0), (1, -1), (1, "x"), (2, -1), (3, 20_250_101), (3, "never")])
def test_what_is_no_trade_is_refused(column: tuple[int, Any]) -> None:
    place, cell = column
    wrong = [list(trade) for trade in TRADED]
    wrong[1][place] = cell
    payload = b"id,price,amount,time\n" + trade_lines([tuple(trade) for trade in wrong])
    with pytest.raises(ImportRefused, match="row 2"):
        imported(("a.csv", payload), layout=TRADES)


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    lambda rng, held: held[: rng.randrange(len(held))],
    lambda rng, held: held[rng.randrange(len(held)) :],
    lambda rng, held: bytes(byte ^ (rng.random() < 0.002) * rng.randrange(256) for byte in held),
    lambda rng, held: held + rng.randbytes(40),
    lambda rng, held: held.replace(b",", rng.choice([b";", b",,", b"\n"]), rng.randrange(1, 9)),
]


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_or_give_what_is_still_in_them(name: str) -> None:
    """Never another error, and never a bar that breaks the contract of bars."""
    file, payload, how = FILES[name]
    rng = random.Random(name)
    for mutate in MUTATIONS * 3:
        try:
            made = imported((file, mutate(rng, payload)), **how)
        except SeamlessError:
            continue
        low, high = made.bars["low"].to_numpy(), made.bars["high"].to_numpy()
        assert (np.diff(made.bars["ts"].to_numpy()) > 0).all() and (low > 0).all() and (low <= high).all()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("is_whole", [True, False])
def test_what_could_unpack_to_anything_at_once_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, method: int, is_whole: bool
) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("a.csv", lines(TIMES))
    payload = bytearray(sink.getvalue())
    if not is_whole:
        payload[40:60] = b"\xff" * 20
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it is read"))
    with pytest.raises(ImportRefused, match="otherwise than by deflate; unpack it first"):
        imported(("a.zip", bytes(payload)))


@pytest.mark.parametrize("name", [".", "./.", "\\."])
def test_a_member_of_no_name_is_refused(name: str) -> None:
    with pytest.raises(ImportRefused):
        imported(("a.zip", zipped({name: lines(TIMES)})))


@pytest.mark.parametrize(("bars", "is_refused"), [(29, False), (30, True)])
def test_of_few_bars_nothing_is_said_by_how_far_apart_they_lie(bars: int, is_refused: bool) -> None:
    payload = lines([START + at * 300 for at in range(60)])
    payload = b"\n".join(payload.splitlines()[:bars])
    if is_refused:
        with pytest.raises(ImportRefused, match="coarser"):
            imported(("a.csv", payload))
    else:
        assert imported(("a.csv", payload)).bars.num_rows == bars
