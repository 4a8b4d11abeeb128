"""What OpenAPI says of answers: their forms are those of the values, errors are problem details."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec.json import encode, schema_components
from starlette.responses import Response, StreamingResponse

from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.reading.result import ReadMetadata
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.condition import Condition
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.wire.events import FORMS
from seamless_assets.core.wire.pieces import is_long, json_pieces
from seamless_assets.core.wire.problems import PROBLEM_TYPE, Problem
from seamless_assets.core.wire.views import NodeList, Operations, SessionView, Strip
from seamless_assets.flows.releasing.govern import SnapshotDiff

KINDS: tuple[type, ...] = (
    *(Condition, Coverage, Fact, Manifest, NodeList, Operations, Problem, ReadMetadata, Release),
    *(SessionView, Snapshot, SnapshotDiff, Strip),
    *FORMS,
)
PROBLEMS = (401, 403, 404, 409, 413, 421, 422, 429, 500, 503, 504)
JSON = "application/json"
_REF = "#/components/schemas/{name}"
Responses = dict[int | str, dict[str, Any]]


def ref_to(kind: type) -> dict[str, Any]:
    """The form of a value, among the document's components."""
    return {"$ref": _REF.format(name=kind.__name__)}


def answers(content: Mapping[str, Any], also: Mapping[int, str] | None = None) -> Responses:
    """The answers of a route: `content` by media type, problems, and `also` other statuses without a body."""
    problem = {PROBLEM_TYPE: {"schema": ref_to(Problem)}}
    return {
        200: {"description": "What was asked for.", "content": dict(content)},
        **{status: {"description": said} for status, said in (also or {}).items()},
        **{status: {"description": "Why not, and the way out.", "content": problem} for status in PROBLEMS},
    }


def json_of(kind: type, *, is_list: bool = False, example: Any = None) -> Responses:
    """The answers of a route that gives one value as JSON, or a list of them."""
    one = ref_to(kind)
    content: dict[str, Any] = {"schema": {"type": "array", "items": one} if is_list else one}
    if example is not None:
        content["example"] = example
    return answers({JSON: content})


def json_answer(value: Any) -> Response:
    """A value as JSON; a long one piece by piece, so that others are answered meanwhile."""
    if not is_long(value):
        return Response(encode(value, enc_hook=str), media_type=JSON)
    return StreamingResponse(_one_by_one(json_pieces(value)), media_type=JSON)


async def _one_by_one(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def describe_values(app: FastAPI, *, needs_token: bool) -> None:
    """Add the forms of our values to the application's OpenAPI document, and tokens where they are needed."""
    _, components = schema_components(KINDS, ref_template=_REF)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas |= components
            if needs_token:
                schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
