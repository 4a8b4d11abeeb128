"""History over HTTP: the same bars in every form, headers that caches can trust, refusals that say why."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from service.conftest import HOLE, NODE, THIN, Client

from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.service.routes.history import cache_headers
from seamless_assets.testing import DAY, START

URL = "/v1/history"


def decoded(form: str, body: bytes) -> pd.DataFrame:
    """The bars of an answer, as each form's own reader takes it."""
    match form:
        case "arrow":
            return pa.ipc.open_stream(body).read_all().to_pandas()
        case "parquet":
            return parquet.read_table(io.BytesIO(body)).to_pandas()
        case "json":
            answer = json.loads(body)
            return pd.DataFrame(answer["bars"], columns=answer["columns"])
        case _:
            return pd.read_csv(io.BytesIO(body))


@pytest.mark.parametrize("form", ["arrow", "parquet", "json", "csv"])
@pytest.mark.parametrize("as_of", [None, 0, 1])
async def test_every_form_holds_the_bars_of_a_read(
    pipeline: Seamless, client: Client, form: str, as_of: int | None
) -> None:
    bound = pipeline.releases(NODE)[as_of].as_of if as_of is not None else None
    context = ComputeContext(as_of=bound) if bound else None
    expected = (await pipeline.aio.read(NODE, START, START + DAY, context=context)).to_pandas()
    query = {"node": NODE, "start": str(START), "end": str(START + DAY), "format": form}
    async with client() as ask:
        answer = await ask.get(URL, params=query | ({"as_of": bound} if bound else {}))
    assert answer.status_code == 200
    pd.testing.assert_frame_equal(decoded(form, answer.content), expected)
    assert answer.headers["X-Seamless-Rows"] == str(len(expected))
    assert answer.headers["X-Seamless-Verdict"] == "PASS"


@pytest.mark.parametrize("form", ["arrow", "parquet", "json"])
async def test_the_whole_metadata_stands_beside_the_bars(
    pipeline: Seamless, client: Client, form: str
) -> None:
    expected = (await pipeline.aio.read(NODE, START, START + DAY)).metadata
    query = {"node": NODE, "start": str(START), "end": str(START + DAY), "format": form}
    async with client() as ask:
        body = (await ask.get(URL, params=query)).content
    if form == "json":
        metadata = json.loads(body)["metadata"]
    else:
        table = (
            pa.ipc.open_stream(body).read_all() if form == "arrow" else parquet.read_table(io.BytesIO(body))
        )
        metadata = json.loads(table.schema.metadata[b"seamless"])
    assert metadata["dataset_fingerprint"] == expected.dataset_fingerprint
    assert metadata["gaps"] == [list(gap) for gap in expected.gaps] and [list(HOLE)] == [
        gap[:2] for gap in metadata["gaps"]
    ]
    assert metadata["manifest_uris"] == list(expected.manifest_uris)


async def test_an_as_of_is_immutable_and_no_answer_is_sent_twice(pipeline: Seamless, client: Client) -> None:
    release = pipeline.releases(NODE)[0]
    query = {"node": NODE, "as_of": release.as_of}
    async with client() as ask:
        first = await ask.get(URL, params=query)
        again = await ask.get(URL, params=query)
        assert first.headers["ETag"] == f'"{release.dataset_fingerprint}"'
        assert "immutable" in first.headers["Cache-Control"]
        assert again.content == first.content and again.headers["ETag"] == first.headers["ETag"]
        for known in (
            first.headers["ETag"],
            f"W/{first.headers['ETag']}",
            f'"x", {first.headers["ETag"]}',
            "*",
        ):
            unchanged = await ask.get(URL, params=query, headers={"If-None-Match": known})
            assert unchanged.status_code == 304 and not unchanged.content, known
        other = await ask.get(URL, params=query, headers={"If-None-Match": '"sha256:0"'})
        assert other.status_code == 200 and other.content == first.content


@pytest.mark.parametrize(
    ("asked", "ago_s", "is_settled"),
    [
        ("2025-01-01T00:00:00Z", 1, True),
        ("2025-01-01T00:00:01Z", 1, False),
        ("2025-01-01T00:00:01Z", 900, True),
    ],
)
def test_an_as_of_before_which_a_release_may_still_be_dated_is_asked_for_anew(
    asked: str, ago_s: int, is_settled: bool
) -> None:
    context = ComputeContext(as_of=asked)
    metadata = SimpleNamespace(
        requested_as_of=context.as_of, as_of="2025-01-01T00:00:00.000000Z", dataset_fingerprint="sha256:0"
    )
    headers = cache_headers(metadata, context, START + 1 + ago_s, is_session=False)  # type: ignore[arg-type]
    assert ("immutable" in headers["Cache-Control"]) is is_settled and headers["ETag"]


async def test_the_newest_release_is_asked_for_anew_each_time(pipeline: Seamless, client: Client) -> None:
    newest = pipeline.releases(NODE)[-1]
    async with client() as ask:
        answer = await ask.get(URL, params={"node": NODE})
        assert answer.headers["ETag"] == f'"{newest.dataset_fingerprint}"'
        assert "no-cache" in answer.headers["Cache-Control"]
        known = {"If-None-Match": answer.headers["ETag"]}
        assert (await ask.get(URL, params={"node": NODE}, headers=known)).status_code == 304


@pytest.mark.parametrize(
    "more", [{"domain": "live"}, {"domain": "live", "session": "true"}, {"domain": "dryrun", "as_of": ""}]
)
async def test_what_may_change_is_never_kept(
    pipeline: Seamless, client: Client, more: dict[str, str]
) -> None:
    if "as_of" in more:
        more = {**more, "as_of": pipeline.releases(NODE)[-1].as_of}
    query = {"node": NODE, "start": str(START), "end": str(START + 600), "strategy": "FAIL_FAST"}
    async with client() as ask:
        answer = await ask.get(URL, params={**query, **more})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store" and "ETag" not in answer.headers


async def test_all_arguments_of_a_read_arrive(pipeline: Seamless, client: Client) -> None:
    bound = pipeline.releases(NODE)[-1].as_of
    window = (HOLE[0] - 120, HOLE[1] + 120)
    context = ComputeContext("wélt/1", "backtest", bound)
    expected = await pipeline.aio.read(
        NODE,
        *window,
        context=context,
        columns=["close", "ts"],
        limit=5,
        fill="previous_close",
        sla="baseline",
    )
    query = {
        "node": NODE,
        "start": str(window[0]),
        "end": str(window[1]),
        "as_of": bound,
        "world_id": "wélt/1",
        "domain": "backtest",
        "columns": "close,ts",
        "limit": "5",
        "fill": "previous_close",
        "sla": "baseline",
    }
    async with client() as ask:
        answer = await ask.get(URL, params=query)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.replace_schema_metadata(None).equals(expected.bars)
    assert unquote(answer.headers["X-Seamless-World-Id"]) == "wélt/1"
    sla = json.loads(answer.headers["X-Seamless-Sla"])
    assert sla["policy"] == json.loads(json.dumps(expected.metadata.sla["policy"]))


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({}, 422, "InvalidInput", "node"),
    ({"node": "BTC"}, 422, "InvalidNodeId", "BTC"),
    ({"node": NODE, "nodes": NODE}, 422, "InvalidInput", "nodes"),
    ({"node": [NODE, THIN]}, 422, "InvalidInput", "twice"),
    ({"node": NODE, "format": "xml"}, 422, "InvalidInput", "format"),
    ({"node": NODE, "start": "yesterday"}, 422, "InvalidInput", "start"),
    ({"node": NODE, "start": "2025-01-01T00:00:00", "end": "x"}, 422, "InvalidInput", "end"),
    ({"node": NODE, "start": str(START + 60), "end": str(START)}, 422, "InvalidSegment", "before"),
    ({"node": NODE, "limit": "0"}, 422, "InvalidInput", "limit"),
    ({"node": NODE, "columns": "close,shut"}, 422, "InvalidChoice", "shut"),
    ({"node": NODE, "strategy": "HOPE"}, 422, "InvalidInput", "strategy"),
    ({"node": NODE, "domain": "backtest"}, 422, "AsOfRequired", "as_of"),
    ({"node": NODE, "as_of": "2199-01-01T00:00:00Z"}, 422, "AsOfInFuture", "after now"),
    ({"node": NODE, "as_of": "2001-01-01T00:00:00Z"}, 404, "NothingReleased", "no release"),
    ({"node": NODE, "start": str(START - DAY)}, 409, "CoverageMissing", "do not hold"),
    ({"node": NODE, "sla": "{"}, 422, "InvalidInput", "JSON"),
    ({"node": NODE, "sla": '{"total_deadline_ms": -1}'}, 422, "InvalidInput", "total_deadline_ms"),
    ({"node": NODE, "session": "true"}, 422, "InvalidInput", "session"),
    (
        {"node": NODE, "session": "true", "domain": "live", "dataset_fingerprint": "sha256:" + "0" * 64},
        *(422, "InvalidInput", "leave dataset_fingerprint"),
    ),
    ({"node": "ohlcv:binance:NO/NE:1m"}, 404, "NothingReleased", "no release"),
    ({"node": "ohlcv:binance:NO/NE:1m", "strategy": "AUTO_BACKFILL"}, 422, "InvalidChoice", "declare"),
    ({"node": "ohlcv:binance:NO/NE:1m", "domain": "live"}, 422, "InvalidChoice", "declare"),
]


@pytest.mark.parametrize(("query", "status", "error", "word"), REFUSED)
async def test_what_cannot_be_served_is_refused_with_the_way_out(
    client: Client, query: dict[str, Any], status: int, error: str, word: str
) -> None:
    async with client() as ask:
        answer = await ask.get(URL, params=query)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["error"]) == (status, status, error), problem
    assert word in problem["detail"] and problem["title"]


async def test_a_live_session_is_not_asked_for_by_an_as_of(client: Client) -> None:
    query = {"node": NODE, "world_id": "w", "as_of": "2025-01-01T00:00:00Z"}
    async with client() as ask:
        answer = await ask.get("http://127.0.0.1/v1/sessions", params=query)
    assert answer.status_code == 422 and "leave as_of out" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [{"start": str(START), "end": str(START + DAY)}, {}, {"limit": "101"}, {"start": "2000-01-01T00:00:00Z"}],
)
async def test_more_rows_than_are_given_at_once_are_refused_before_they_are_read(
    client: Client, query: dict[str, str]
) -> None:
    async with client(max_rows=100) as ask:
        answer = await ask.get(URL, params={"node": NODE, **query})
        assert answer.status_code == 422 and answer.json()["error"] == "LimitExceeded"
        assert answer.json()["facts"] == {"limit": 100}
        assert (await ask.get(URL, params={"node": NODE, "limit": "100"})).status_code == 200
        for path in ("coverage", "strip", "ledger", "condition"):
            wide = {"node": NODE, "start": str(START), "end": str(START + DAY)}
            assert (await ask.get(f"/v1/{path}", params=wide)).json()["error"] == "LimitExceeded", path
