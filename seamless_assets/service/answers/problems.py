"""Every error of the tree as an answer: which status it has, and problem details that say the way out."""

from __future__ import annotations

import math
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from seamless_assets import errors
from seamless_assets.core.wire.problems import PROBLEM_TYPE, problem_json
from seamless_assets.errors import SeamlessError
from seamless_assets.service.coordinator import (
    LEASES,
    UNREADABLE,
    meaningless,
    unreadable_body,
    validation_detail,
)

_STATUSES: dict[type[SeamlessError], int] = {
    errors.InvalidInput: 422,
    errors.AsOfRequired: 422,
    errors.AsOfInFuture: 422,
    errors.AsOfRegression: 409,
    errors.NothingReleased: 404,
    errors.ArtifactMissing: 404,
    errors.CoverageMissing: 409,
    errors.ReadRefused: 409,
    errors.SeamlessSLAExceeded: 504,
    errors.LimitExceeded: 422,
    errors.AccessRefused: 403,
    errors.NotServed: 404,
    errors.ServiceUnavailable: 503,
    errors.LeaseLost: 409,
    errors.CoordinationError: 503,
    errors.ExchangeUnavailable: 503,
    errors.ExchangeRefused: 422,
    errors.HotStoreError: 503,
    errors.ArtifactCorrupt: 500,
    errors.ArtifactStoreError: 503,
    errors.SeamlessError: 500,
}
_RETRY_S = 1


def status_of(error: SeamlessError) -> int:
    """The HTTP status of an error: that of its nearest kind."""
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def problem_response(error: SeamlessError, status: int | None = None) -> Response:
    """The answer to a request that raised `error`; one worth a retry says after how long."""
    code = status_of(error) if status is None else status
    headers = {}
    if code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(max(_RETRY_S, math.ceil(error.facts.get("retry_after") or 0)))
    if code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="seamless-assets", Basic realm="seamless-assets"'
    return Response(problem_json(error, code), code, headers, PROBLEM_TYPE)


def answer_errors(app: FastAPI) -> None:
    """Let every error that a route raises be answered by problem details.

    What the lease coordinator answers keeps the form that it always had.
    """

    @app.exception_handler(SeamlessError)
    async def refused(_: Request, error: SeamlessError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith(LEASES):
            return meaningless(error)
        detail = validation_detail(error)
        message = "; ".join(f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in detail)
        return problem_response(errors.InvalidInput(f"{message}; /openapi.json says what is taken"))

    @app.exception_handler(UNREADABLE)
    async def unreadable(request: Request, _: Exception) -> Response:
        if request.url.path.startswith(LEASES):
            return unreadable_body()
        return problem_response(
            errors.InvalidInput("the body is no JSON in UTF-8; send what /openapi.json says")
        )

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; /openapi.json lists what is served"
        answer = problem_response(errors.NotServed(message), error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        message = f"the service failed on this request ({type(error).__name__}); its log says where"
        return problem_response(SeamlessError(message))
