"""Fault injection: what a fault makes of a request, and of the answer that would have been given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from aiohttp import web

from seamless_assets.sandbox.faults import Fault

QUERY: web.RequestKey[dict[str, str]] = web.RequestKey("query", dict)
"""A query that goes before the one that was sent."""
PAGE_FAULTS = frozenset(
    {"empty", "short_page", "short_window", "null_fields", "inverted", "zero_prices", "edges", "hide"}
)
"""Kinds that change the page of candles inside an answer."""
UPPER_BOUNDS = frozenset({"endTime", "end", "after"})
IGNORED_PARAMETERS = {
    "ignore_since": UPPER_BOUNDS | {"startTime", "since", "start", "before"},
    "ignore_until": UPPER_BOUNDS,
}
"""Which bounds of time a venue ignores, by the kind of fault."""
_PRICES = {"open": 1, "high": 2, "low": 3, "close": 4}
"""Where a row has its prices, by name or by place."""


def failure(fault: Fault) -> web.Response:
    """An answer with the fault's status, headers and body, and `Retry-After` in seconds where it has one."""
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    body = {"code": -1003, "msg": f"sandbox fault {fault.code}"} if fault.body is None else fault.body
    return web.json_response(body, status=fault.code, headers=headers)


def maintenance_page() -> web.Response:
    """An HTML page with status 200."""
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


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection is gone before anything is answered."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def without_bounds(request: web.Request, kind: str) -> web.Request:
    """The same request without the bounds of time that a fault of this kind ignores."""
    ignored = IGNORED_PARAMETERS[kind]
    request[QUERY] = {name: value for name, value in request.query.items() if name not in ignored}
    return request


def corrupted(payload: Any, fault: Fault) -> Any:
    """The answer with its page of candles emptied, cut, thinned, or its middle row made impossible."""
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
        page[:] = [row for row in page if not fault.start <= _open_time(row) < fault.end]
    elif page:
        page[len(page) // 2] = _impossible(page[len(page) // 2], fault.kind)
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


def _open_time(row: Any) -> float:
    """When a row opens, epoch seconds, whatever unit the venue writes."""
    time = float(row["start"] if isinstance(row, dict) else row[0])
    return time / 1000 if time > 1e11 else time


def _of_first_bars(page: list[Any], bars: int) -> list[Any]:
    opens = sorted(_open_time(row) for row in page)
    steps = [later - earlier for earlier, later in pairwise(opens)]
    return [row for row in page if _open_time(row) < opens[0] + bars * min(steps)] if steps else page


def _impossible(row: Any, kind: str) -> Any:
    """A copy of a row whose prices are zero, whose high lies below its low, or which has no close."""
    changed: Any = dict(row) if isinstance(row, dict) else list(row)
    place: dict[str, Any] = {name: name for name in _PRICES} if isinstance(row, dict) else {**_PRICES}
    changes: dict[Any, Any]
    if kind == "zero_prices":
        changes = dict.fromkeys(place.values(), "0")
    elif kind == "inverted":
        changes = {place["high"]: row[place["low"]], place["low"]: row[place["high"]]}
    else:
        changes = {place["close"]: None}
    for where, value in changes.items():
        changed[where] = value
    return changed
