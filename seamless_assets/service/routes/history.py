"""`GET /v1/history`: a read with all its arguments, as Arrow, Parquet, JSON or CSV."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Request
from fastapi import Query as QueryString
from msgspec import MsgspecError
from msgspec.json import decode, encode
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from seamless_assets.core.calendar.instant import epoch_micros, epoch_seconds
from seamless_assets.core.coverage.ledger import CLOCK_TOLERANCE_S
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, Domain, Strategy
from seamless_assets.core.reading.result import ReadMetadata, ReadResult
from seamless_assets.core.wire.frames import (
    ARROW_TYPE,
    BATCH_ROWS,
    arrow_stream,
    stream_length,
    with_metadata,
)
from seamless_assets.core.wire.problems import plain
from seamless_assets.core.worlds.session import SessionKey
from seamless_assets.errors import InvalidChoice, InvalidInput, LimitExceeded, NothingReleased
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.answers.encodings import ENCODINGS, Format
from seamless_assets.service.answers.replies import IMMUTABLE, RELEASED, Released, is_known
from seamless_assets.service.callers import caller_of
from seamless_assets.service.routes.openapi import answers
from seamless_assets.service.routes.queries import LONGEST_TEXT, AsOf, Time, World, instant
from seamless_assets.service.sessions import SessionLimit

REVALIDATED, UNKEPT = "private, no-cache", "no-store"
SHORT_ROWS = 2_000
"""Rows that are written as texts, or compressed, in about a millisecond; more are by another thread."""
_NOT_MODIFIED = 304
_LONGEST_HEADER, _MAX_REASONS = 1_000, 10


class HistoryQuery(AsOf):
    """The arguments of `read`. Without `as_of` and context: the newest release."""

    start: Time | None = None
    end: Time | None = None
    world_id: World | None = None
    domain: Domain | None = None
    strategy: Strategy | None = None
    format: Format = "arrow"
    columns: Annotated[str, Field(max_length=200, description="By commas, in the wanted order",
                                  examples=["ts,close"])] | None = None  # fmt: skip
    limit: Annotated[int, Field(gt=0, description="The last so many bars before `end`")] | None = None
    fill: Literal["previous_close"] | None = None
    sla: Annotated[str, Field(max_length=LONGEST_TEXT, description="A preset, or a policy as JSON",
                              examples=["baseline"])] | None = None  # fmt: skip
    max_lag: Annotated[float, Field(gt=0, allow_inf_nan=False, description="Seconds")] | None = None
    min_coverage: Annotated[float, Field(ge=0, le=1)] | None = None
    session: Annotated[bool, Field(description="Serve what the world's session is bound to")] = False

    @property
    def context(self) -> ComputeContext | None:
        """The context of the read; None where nothing of it is told."""
        fields: dict[str, Any] = {
            "world_id": self.world_id,
            "domain": self.domain,
            "as_of": instant(self.as_of),
            "max_lag": self.max_lag,
            "min_coverage": self.min_coverage,
            "dataset_fingerprint": self.dataset_fingerprint,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return ComputeContext(**given) if given else None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the newest release decides what is answered."""
        return self.context is None and self.strategy is None and self.sla is None and not self.session

    @property
    def policy(self) -> Any:
        """The SLA as `read` takes it."""
        if self.sla is None or not self.sla.startswith("{"):
            return self.sla
        try:
            return decode(self.sla)
        except (MsgspecError, RecursionError) as error:
            raise InvalidInput(f"sla is no JSON: {error}; give a preset's name or a mapping") from error


def history_routes(pipeline: Seamless, most_rows: int, sessions: SessionLimit) -> APIRouter:
    """The route, over a pipeline; it answers at most `most_rows` rows."""
    router = APIRouter(tags=["history"])
    starts = pipeline.settings.starts

    @router.get("/v1/history", responses=_RESPONSES, response_class=Response)
    async def history(
        query: Annotated[HistoryQuery, QueryString()],
        request: Request,
        if_none_match: Annotated[str | None, Header(max_length=LONGEST_TEXT)] = None,
    ) -> Response:
        """Bars of `[start, end)` with their metadata, in the schema and in `X-Seamless-*` headers."""
        node, context = NodeId.parse(query.node), query.context
        if node not in starts:
            _require_stored(query, node)
        if node in starts:
            _require_few(query, node, starts[node], None, most_rows)
        else:
            _require_few(query, node, *await _released_window(pipeline, query), most_rows)
        if context is not None and (context.domain != "backtest" or query.session):
            # What such a read came to is remembered; a backtest alone leaves nothing behind.
            await sessions.require(caller_of(request.scope), SessionKey.of(context, str(node)))
        result = await _read(pipeline, query, context)
        if result.metadata.rows > most_rows:
            raise _too_many(result.metadata.rows, most_rows)
        headers = metadata_headers(result.metadata) | cache_headers(
            result.metadata, context, time.time(), is_session=query.session
        )
        if is_known(if_none_match, headers.get("ETag", "")):
            return Response(None, _NOT_MODIFIED, headers)
        if query.is_plain:
            request.scope[RELEASED] = _released(result.metadata)
        media_type, pieces = ENCODINGS[query.format]
        return _answer(result, headers, media_type, pieces)

    return router


def _released(metadata: ReadMetadata) -> Released:
    return Released(metadata.node_id, metadata.as_of, metadata.dataset_fingerprint)


async def _read(pipeline: Seamless, query: HistoryQuery, context: ComputeContext | None) -> ReadResult:
    arguments: dict[str, Any] = {
        "strategy": query.strategy,
        "sla": query.policy,
        "columns": query.columns.split(",") if query.columns is not None else None,
        "limit": query.limit,
        "fill": query.fill,
    }
    start, end = instant(query.start), instant(query.end)
    if not query.session:
        return await pipeline.aio.read(query.node, start, end, context=context, **arguments)
    if context is None:
        raise InvalidInput("session=true needs the world_id and the domain of the session")
    if context.dataset_fingerprint is not None:
        raise InvalidInput("a session is bound by its as_of; leave dataset_fingerprint or session out")
    session = pipeline.aio.session(
        context.world_id, context.domain, context.as_of, context.max_lag, context.min_coverage
    )
    return await session.read(query.node, start, end, **arguments)


async def _released_window(pipeline: Seamless, query: HistoryQuery) -> tuple[int | None, int | None]:
    """Where an open window begins and ends of a node that is not declared: as what is released of it does."""
    if query.start is not None or query.limit is not None:
        return None, None
    try:
        return await pipeline.aio.released_window(
            query.node, instant(query.as_of), dataset_fingerprint=query.dataset_fingerprint
        )
    except NothingReleased:
        # The read says so, or serves what is hot.
        return None, None


def _require_few(
    query: HistoryQuery, node: NodeId, first: int | None, last: int | None, most_rows: int
) -> None:
    """Raise `LimitExceeded` where the window alone says that it is too much.

    An open one begins with the `first` bar there may be, and ends with the `last`, by default now.
    """
    bars, begin = query.limit or 0, first if query.limit is None else None
    if query.start is not None:
        begin = epoch_seconds(instant(query.start), "start")
    if begin is not None:
        newest = int(time.time()) if last is None else last
        end = newest if query.end is None else epoch_seconds(instant(query.end), "end")
        bars = node.timeframe.count(node.timeframe.floor(begin), node.timeframe.floor(max(begin, end)))
    if bars > most_rows:
        raise _too_many(bars, most_rows)


async def _at_once(pieces: Iterable[memoryview | bytes]) -> AsyncIterator[memoryview | bytes]:
    for piece in pieces:
        yield piece


def _require_stored(query: HistoryQuery, node: NodeId) -> None:
    """Raise `InvalidChoice` where a read may fill a node that is not declared: who reads fills no store."""
    strategy = query.strategy or ("SEAMLESS" if query.domain in ("live", "dryrun") else "FAIL_FAST")
    if strategy != "FAIL_FAST":
        raise InvalidChoice(
            f"{node} is not declared, and a service fills declared nodes alone; declare it in its "
            "seamless.yaml, or read what is there by strategy=FAIL_FAST",
            value=str(node),
            choices=("FAIL_FAST",),
        )


def _too_many(rows: int, most_rows: int) -> LimitExceeded:
    return LimitExceeded(
        f"{rows} rows are more than the {most_rows} of one answer; ask for shorter windows one by one, give "
        "a limit, or raise service.max_rows",
        limit=most_rows,
    )


def _answer(
    result: ReadResult,
    headers: dict[str, str],
    media_type: str,
    pieces: Callable[[ReadResult], Iterator[bytes]],
) -> Response:
    if result.metadata.rows <= (BATCH_ROWS if media_type == ARROW_TYPE else SHORT_ROWS):
        return Response(b"".join(pieces(result)), 200, headers, media_type)
    if media_type == ARROW_TYPE:
        # Its pieces are copied, not made, so that no thread has to do it, and their length is known.
        table = with_metadata(result)
        headers["Content-Length"] = str(stream_length(table))
        return StreamingResponse(_at_once(arrow_stream(table)), 200, headers, media_type)
    return StreamingResponse(pieces(result), 200, headers, media_type)


def cache_headers(
    metadata: ReadMetadata, context: ComputeContext | None, now: float, *, is_session: bool
) -> dict[str, str]:
    """How long an answer holds: for ever where its `as_of` is settled, else until the next release.

    An `as_of` is settled where it is a release's own, or so long ago that no clock is as wrong: until then a
    release may still be dated before it.
    """
    is_past = context is None or context.domain == "backtest"
    if not is_past or is_session or metadata.dataset_fingerprint is None:
        return {"Cache-Control": UNKEPT}
    asked = metadata.requested_as_of if context is not None else None
    is_settled = asked is not None and (
        asked == metadata.as_of or epoch_micros(asked, "as_of") < (now - CLOCK_TOLERANCE_S) * 1_000_000
    )
    return {
        "ETag": f'"{metadata.dataset_fingerprint}"',
        "Cache-Control": IMMUTABLE if is_settled else REVALIDATED,
    }


def metadata_headers(metadata: ReadMetadata) -> dict[str, str]:
    """The metadata as headers but its lists, which stand in the schema; `Sla` and `Reasons` as JSON."""
    fields: dict[str, Any] = {
        "Node-Id": metadata.node_id,
        "Interval": metadata.interval,
        "Start": metadata.start,
        "End": metadata.end,
        "Rows": metadata.rows,
        "Coverage-Ratio": metadata.coverage_ratio,
        "Gaps": len(metadata.gaps),
        "Conformance-Version": metadata.conformance_version,
        "Dataset-Fingerprint": metadata.dataset_fingerprint,
        "As-Of": metadata.as_of,
        "Requested-As-Of": metadata.requested_as_of,
        "World-Id": metadata.world_id,
        "Domain": metadata.domain,
        "Verdict": metadata.verdict,
        "Source": metadata.source,
        "Staleness-Seconds": metadata.staleness_seconds,
        "Reasons": _json([reason[:_LONGEST_HEADER] for reason in metadata.reasons[:_MAX_REASONS]]),
        "Sla": _json(plain(metadata.sla)),
    }
    return {f"X-Seamless-{name}": _header(value) for name, value in fields.items() if value is not None}


def _json(value: Any) -> str:
    return encode(value).decode()


def _header(value: Any) -> str:
    """A value as a header takes it: what is not printable ASCII is percent-encoded, and `%` with it."""
    return quote(str(value), safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")


_RESPONSES = answers(
    {
        ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["metadata", "columns", "bars"],
                "properties": {
                    "metadata": {"$ref": "#/components/schemas/ReadMetadata"},
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "bars": {"type": "array", "items": {"type": "array"}},
                },
            },
        },
        "text/csv": {"schema": {"type": "string"}},
    },
    also={_NOT_MODIFIED: "What the ETag in If-None-Match names is still so."},
)
