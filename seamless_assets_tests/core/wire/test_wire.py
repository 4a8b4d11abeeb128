"""What travels over HTTP comes back as it was: reads with their metadata, every error of the tree."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from seamless_assets import errors
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.core.wire.frames import (
    BATCH_ROWS,
    arrow_stream,
    read_stream,
    stream_length,
    with_metadata,
)
from seamless_assets.core.wire.problems import error_of, plain, problem_of
from seamless_assets.errors import SeamlessError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SeamlessError)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INSTANT = st.integers(0, 4_000_000_000)


def metadata(rows: int, gaps: tuple[Gap, ...] = (), world: str = "w", **other: object) -> ReadMetadata:
    fields: dict[str, object] = {
        "node_id": "ohlcv:binance:BTC/USDT:1m",
        "interval": 60,
        "start": 0,
        "end": rows * 60,
        "rows": rows,
        "coverage_bounds": (0, rows * 60) if rows else None,
        "coverage_ratio": 1.0,
        "gaps": gaps,
        "conformance_flags": {"gap": 3},
        "conformance_version": "v2",
        "dataset_fingerprint": None,
        "as_of": None,
        "requested_as_of": "2025-01-01T00:00:00.000000Z",
        "manifest_uris": ("a", "b"),
        "world_id": world,
        "domain": "live",
        "verdict": "HOLD",
        "reasons": ("lag_exceeded: é",),
        "source": "blended",
        "staleness_seconds": 1.5,
        "sla": {"phases": {"total": {"taken_ms": 1.0}}, "violations": []},
    }
    return ReadMetadata(**{**fields, **other})  # type: ignore[arg-type]


def bars(rows: int) -> pa.Table:
    ts = np.arange(rows, dtype=np.int64) * 60
    prices = [np.linspace(1, 2, rows) for _ in range(5)]
    return pa.table([ts, *prices], schema=BARS_SCHEMA)


@given(
    rows=st.integers(0, 50),
    gaps=st.lists(st.builds(Gap, INSTANT, INSTANT, TEXT), max_size=4).map(tuple),
    world=TEXT,
    interval=st.sampled_from([60, 604_800, "1M"]),
    staleness=st.none() | st.floats(0, 1e9),
)
def test_a_read_comes_back_as_it_was(
    rows: int, gaps: tuple[Gap, ...], world: str, interval: int | str, staleness: float | None
) -> None:
    sent = ReadResult(bars(rows), metadata(rows, gaps, world, interval=interval, staleness_seconds=staleness))
    stream = b"".join(arrow_stream(with_metadata(sent)))
    assert stream_length(with_metadata(sent)) == len(stream)
    came = read_stream(stream, encode(plain(sent.metadata.sla)))
    assert came.bars.equals(sent.bars) and came.bars.schema.equals(sent.bars.schema, check_metadata=True)
    assert came.metadata == sent.metadata and came.metadata.sla == sent.metadata.sla
    assert all(isinstance(gap, Gap) for gap in came.metadata.gaps)


def test_a_long_read_is_sent_in_pieces_that_a_reader_can_begin_with() -> None:
    sent = ReadResult(bars(2 * BATCH_ROWS + 1), metadata(2 * BATCH_ROWS + 1))
    pieces = [bytes(piece) for piece in arrow_stream(with_metadata(sent))]
    assert len(pieces) == 1 + 3 + 1
    assert stream_length(with_metadata(sent)) == sum(map(len, pieces))
    with pa.ipc.open_stream(b"".join(pieces[:2]) + pieces[-1]) as begun:
        assert begun.read_all().num_rows == BATCH_ROWS


@pytest.mark.parametrize("payload", [b"", b"PAR1", b"{}", b"\xff\xff\xff\xff\x00\x00\x00\x00"])
def test_what_is_no_read_is_an_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read_stream(payload, b"{}")


def without_metadata() -> Iterator[tuple[bytes, bytes]]:
    plain_table = bars(2)
    yield b"".join(arrow_stream(plain_table)), b"{}"
    yield b"".join(arrow_stream(plain_table.replace_schema_metadata({b"seamless": b"[]"}))), b"{}"
    yield b"".join(arrow_stream(plain_table.replace_schema_metadata({b"seamless": b"{}"}))), b"{}"
    yield b"".join(arrow_stream(with_metadata(ReadResult(plain_table, metadata(2))))), b"nonsense"


@pytest.mark.parametrize(("payload", "sla"), list(without_metadata()))
def test_bars_without_their_metadata_are_no_read(payload: bytes, sla: bytes) -> None:
    with pytest.raises(ValueError):
        read_stream(payload, sla)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_back_with_its_facts(kind: type[SeamlessError]) -> None:
    gaps = (Gap(0, 60, "missing"),)
    sent = kind("why, and the way out", node_id="n", gaps=gaps, choices=("a", "b"), retry_after=None)
    came = error_of(encode(problem_of(sent, 409)))
    assert type(came) is kind and str(came) == str(sent)
    assert came.facts == sent.facts and isinstance(came.gaps[0], Gap)


def test_facts_that_json_has_no_form_for_are_written_as_text() -> None:
    sent = errors.InvalidInput("x", value=math.nan, key=object)
    came = error_of(encode(problem_of(sent, 422)))
    assert came.facts["value"] is None and "object" in came.facts["key"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"detail": "Not Found"}',
        b'{"title": "t", "status": 1, "detail": "d", "error": "Exception"}',
        b'{"title": "t", "status": 1, "detail": "d", "error": "masked"}',
        b'{"title": "t", "status": 1, "detail": "d", "error": "Iterable"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_problem_of_ours_is_an_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        error_of(payload)


@pytest.mark.parametrize("facts", [{"gaps": 5}, {"message": "x"}, {"self": 1}])
def test_facts_that_no_error_takes_are_no_problem_of_this_version(facts: dict[str, Any]) -> None:
    problem = {"title": "t", "status": 404, "detail": "d", "error": "NothingReleased", "facts": facts}
    try:
        error = error_of(json.dumps(problem).encode())
    except ValueError:
        return
    assert isinstance(error, SeamlessError)
