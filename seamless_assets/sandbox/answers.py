"""Answers that no well-behaved exchange gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from aiohttp import web

from seamless_assets.sandbox.faults import Fault

QUERY: web.RequestKey[dict[str, str]] = web.RequestKey("query", dict)
"""A query that goes before the one that was sent."""
SPOILING = frozenset(
    {"empty", "short_page", "short_window", "null_fields", "inverted", "zero_prices", "edges", "hide"}
)
UPPER = frozenset({"endTime", "end", "after"})
UNHEARD = {"ignore_since": UPPER | {"startTime", "since", "start", "before"}, "ignore_until": UPPER}
"""Which bounds of time a venue's query loses under a fault."""


def status(code: int, retry_after: float | None = None, body: Any = None) -> web.Response:
    """A failure with an optional `Retry-After` in seconds; `body` is what it says, if it says anything."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    told = {"code": -1003, "msg": f"sandbox fault {code}"} if body is None else body
    return web.json_response(told, status=code, headers=headers)


def html() -> web.Response:
    """A maintenance page with status 200."""
    return web.Response(
        text="<html><body><h1>Down for maintenance</h1></body></html>", content_type="text/html"
    )


async def reset(request: web.Request, payload: bytes) -> web.StreamResponse:
    """Half of a body, then the connection is gone."""
    response = web.StreamResponse()
    response.content_length = len(payload) + 1
    await response.prepare(request)
    await response.write(payload[: len(payload) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


def unbounded(request: web.Request, kind: str) -> web.Request:
    """The same request, with the bounds of time ignored that a fault of this kind leaves unheard."""
    request[QUERY] = {name: value for name, value in request.query.items() if name not in UNHEARD[kind]}
    return request


def spoiled(payload: Any, fault: Fault) -> Any:
    """The answer with its page of candles emptied, cut short, thinned, or its middle row spoiled."""
    page = _page(payload)
    if page is None:
        return payload
    if fault.kind == "empty":
        page.clear()
    elif fault.kind == "short_page":
        del page[fault.rows :]
    elif fault.kind == "short_window":
        page[:] = _of_first_bars(page, fault.rows)
    elif fault.kind == "edges":
        page[:] = page[1:-1]
    elif fault.kind == "hide":
        page[:] = [row for row in page if not fault.start <= _opened(row) < fault.end]
    elif page:
        page[len(page) // 2] = _spoiled_row(page[len(page) // 2], fault.kind)
    return payload


def _page(payload: Any) -> list[Any] | None:
    """The list of candles inside a venue's answer, or None."""
    if isinstance(payload, list):
        return payload
    for value in payload.values() if isinstance(payload, dict) else ():
        found = _page(value) if isinstance(value, dict | list) else None
        if found is not None and (not found or isinstance(found[0], list | dict)):
            return found
    return None


def _opened(row: Any) -> float:
    """When a row opens, epoch seconds, whatever unit the venue writes."""
    told = float(row["start"] if isinstance(row, dict) else row[0])
    return told / 1000 if told > 1e11 else told


def _of_first_bars(page: list[Any], bars: int) -> list[Any]:
    opens = sorted(_opened(row) for row in page)
    steps = [later - earlier for earlier, later in pairwise(opens)]
    return [row for row in page if _opened(row) < opens[0] + bars * min(steps)] if steps else page


def _spoiled_row(row: Any, kind: str) -> Any:
    if kind == "zero_prices":
        prices = ("open", "high", "low", "close") if isinstance(row, dict) else (1, 2, 3, 4)
        zeroed: Any = dict(row) if isinstance(row, dict) else list(row)
        for place in prices:
            zeroed[place] = "0"
        return zeroed
    if isinstance(row, dict):
        names = ("high", "low") if kind == "inverted" else ("close", "close")
        spoiled = dict(row)
        spoiled[names[0]], spoiled[names[1]] = (
            (row[names[1]], row[names[0]]) if kind == "inverted" else (None, None)
        )
        return spoiled
    row = list(row)
    if kind == "inverted":
        row[2], row[3] = row[3], row[2]
    else:
        row[4] = None
    return row
