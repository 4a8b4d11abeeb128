"""The lease coordinator: leases of many machines over HTTP, remembered in one SQLite file.

    POST /v1/leases/claim     {"key", "lease_ms", "holder"?}
    POST /v1/leases/renew     {"key", "token", "lease_ms", "above"?}
    POST /v1/leases/complete  {"key", "token"}
    POST /v1/leases/fail      {"key", "token", "reason"?}
    GET  /v1/leases           GET /healthz

A grant is `{"lease": {"key", "token", "holder", "lease_until_ms"}, "completion_ratio"}`; the ratio is that of
the lease, 1.0 once its work is done and 0.0 else. 409 is a no, with the reason in `error`; 422 a body that
cannot mean anything or holds a key that is not used, with the reasons in `detail`; 413 and 408 one that is
too long or too slow; 503 means that the file cannot be used.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.sharing.events import LeaseEvent, LeaseEventKind
from seamless_assets.core.sharing.lease import MAX_TOKEN, Lease, cut_reason
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable, NotServed
from seamless_assets.flows.ports import LeaseRegister, Observer
from seamless_assets.service.callers import may_know
from seamless_assets.service.limits import BodyLimits

LEASES = "/v1/leases"
HELD, MEANINGLESS, UNAVAILABLE = 409, 422, 503
UNREADABLE = 400
"""What FastAPI says of bytes that are no text."""
LONGEST_LEASE_MS = 86_400_000
DONE, NOT_DONE = 1.0, 0.0
MAX_REASONS, LONGEST_NAME = 20, 100

Key = Annotated[str, Field(min_length=1, max_length=1_024)]
Token = Annotated[int, Field(gt=0, lt=MAX_TOKEN)]
LeaseMs = Annotated[int, Field(gt=0, le=LONGEST_LEASE_MS)]


def _whole(text: str) -> str:
    """A text without half characters, which could not be written down."""
    text.encode()
    return text


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key: Key


class Claim(_Body):
    """Who wants `key`, and for how long; without a name every claim is another holder's."""

    lease_ms: LeaseMs
    holder: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class Ownership(_Body):
    """A lease as its holder knows it."""

    token: Token

    @property
    def lease(self) -> Lease:
        """The lease that is spoken of; its holder and end are the store's to know."""
        return Lease(self.key, self.token, "", 0.0)


class Failure(Ownership):
    """The same, and why its work came to nothing; what is too long is cut."""

    reason: Annotated[str, AfterValidator(_whole)] = ""


class Renewal(Ownership):
    """The same, how long it is wanted from now, and above which token where a store knows a newer one."""

    lease_ms: LeaseMs
    above: Token | None = None


def coordinator_app(leases: LeaseRegister, observer: Observer) -> FastAPI:
    """The coordinator's application over `leases`, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await leases.close()

    app = FastAPI(title="seamless-assets lease coordinator", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimits)
    add_leases(app, leases, observer)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return meaningless(error)

    @app.exception_handler(UNREADABLE)
    async def unreadable(_: Request, __: Exception) -> JSONResponse:
        return unreadable_body()

    return app


def add_leases(app: FastAPI, leases: LeaseRegister, observer: Observer, kept_at: str | None = None) -> None:
    """Add the coordinator's routes to an application, and the answers to their errors.

    Where leases are `kept_at` another place, none are granted here beside those.
    """
    if kept_at is None:
        app.include_router(_granting(leases, observer))
        app.include_router(_giving_back(leases, observer))
    else:
        app.include_router(_refusing(kept_at))
    app.include_router(_looking(leases))

    @app.exception_handler(LeaseLost)
    async def lost(_: Request, error: LeaseLost) -> JSONResponse:
        return JSONResponse({"error": str(error), "holder": error.holder}, HELD)

    @app.exception_handler(LeaseStoreUnavailable)
    async def unavailable(request: Request, error: LeaseStoreUnavailable) -> JSONResponse:
        said = str(error) if may_know(request.scope) else "the leases cannot be read; a token tells why"
        return JSONResponse({"error": said}, UNAVAILABLE)


def unreadable_body() -> JSONResponse:
    """The answer to a body that is not even JSON."""
    fault = {"type": "json_invalid", "loc": ["body"], "msg": "the body is no JSON in UTF-8"}
    return JSONResponse({"detail": [fault]}, MEANINGLESS)


def meaningless(error: RequestValidationError) -> JSONResponse:
    """The answer to a body that cannot mean anything."""
    return JSONResponse({"detail": validation_detail(error)}, MEANINGLESS)


def validation_detail(error: RequestValidationError) -> list[dict[str, Any]]:
    """What is wrong with a request: where, and why."""
    # Of what was sent only names are sent back: the rest may be a NaN, which no JSON can hold.
    return [
        {"type": fault["type"], "loc": [_printable(part) for part in fault["loc"]], "msg": fault["msg"]}
        for fault in error.errors()[:MAX_REASONS]
    ]


def _refusing(kept_at: str) -> APIRouter:
    router = APIRouter(prefix=LEASES, include_in_schema=False)

    @router.post("/{action}")
    async def refuse(action: str) -> None:
        raise NotServed(
            f"leases are kept at {kept_at}, and none are granted beside those; name that in "
            "environment.coordinator_url",
            action=action[:LONGEST_NAME],
        )

    return router


def _granting(leases: LeaseRegister, observer: Observer) -> APIRouter:
    router = APIRouter(prefix=LEASES)

    @router.post("/claim", response_model=None, responses=_CLAIMED)
    async def claim(body: Claim) -> dict[str, Any] | JSONResponse:
        holder = body.holder or f"unnamed-{secrets.token_hex(6)}"
        lease = await leases.claim(body.key, holder, body.lease_ms / 1000)
        if lease is None:
            return _held(body.key, await leases.holder_of(body.key))
        observer.notify(_event("claim", lease))
        return _granted(lease)

    @router.post("/renew", responses=_ANSWERS)
    async def renew(body: Renewal) -> dict[str, Any]:
        return _granted(await leases.renew(body.lease, body.lease_ms / 1000, body.above))

    return router


def _giving_back(leases: LeaseRegister, observer: Observer) -> APIRouter:
    router = APIRouter(prefix=LEASES)

    @router.post("/complete", responses=_ANSWERS)
    async def complete(body: Ownership) -> dict[str, Any]:
        await leases.complete(body.lease)
        observer.notify(_event("complete", body.lease))
        return {"completion_ratio": DONE}

    @router.post("/fail", responses=_ANSWERS)
    async def fail(body: Failure) -> dict[str, Any]:
        reason = cut_reason(body.reason)
        await leases.fail(body.lease, reason)
        observer.notify(_event("fail", body.lease, reason))
        return {"completion_ratio": NOT_DONE}

    return router


def _looking(leases: LeaseRegister) -> APIRouter:
    router = APIRouter()

    @router.get(LEASES, responses=_ANSWERS)
    async def held() -> dict[str, Any]:
        tally = await leases.tally()
        return {
            "leases": [_record(lease) for lease in await leases.held()],
            "completed": tally.completed,
            "failed": tally.failed,
            "completion_ratio": tally.completion_ratio,
        }

    @router.get("/healthz", responses=_ANSWERS)
    async def health() -> dict[str, Any]:
        await leases.tally()
        return {"status": "ok", "version": version("seamless-assets"), "now_ms": int(time.time() * 1000)}

    return router


_REFUSALS = {
    HELD: "Another holds it, or it ran out.",
    413: "The body is longer than any lease needs.",
    408: "The body did not come in time.",
    UNAVAILABLE: "The file cannot be used; ask again.",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"description": said} for status, said in _REFUSALS.items()
}
_OWNED = {"key": "$response.body#/lease/key", "token": "$response.body#/lease/token"}
_CLAIMED: dict[int | str, dict[str, Any]] = {
    **_ANSWERS,
    200: {
        "description": "The lease is granted.",
        "content": {"application/json": {"schema": {"type": "object", "required": ["lease"]}}},
        "links": {
            action: {"operationId": f"{action}_v1_leases_{action}_post", "requestBody": {**_OWNED, **more}}
            for action, more in (("renew", {"lease_ms": 60_000}), ("complete", {}), ("fail", {}))
        },
    },
}


def _printable(part: str | int) -> str | int:
    """A name as any JSON can hold it, without half characters and not too long."""
    return part if isinstance(part, int) else part[:LONGEST_NAME].encode(errors="replace").decode()


def _granted(lease: Lease) -> dict[str, Any]:
    return {"lease": _record(lease), "completion_ratio": NOT_DONE}


def _held(key: str, holder: Lease | None) -> JSONResponse:
    if holder is None:
        return JSONResponse({"error": f"{key} was held a moment ago; claim it again"}, HELD)
    error = f"{key} is held by {holder.holder} until {seconds_text(int(holder.until))}; claim it again then"
    facts = {"holder": holder.holder, "lease_until_ms": _ms(holder)}
    return JSONResponse({"error": error, **facts}, HELD)


def _record(lease: Lease) -> dict[str, Any]:
    return {
        "key": lease.key,
        "token": lease.token,
        "holder": lease.holder,
        "lease_until_ms": _ms(lease),
    }


def _ms(lease: Lease) -> int:
    return int(lease.until * 1000)


def _event(kind: LeaseEventKind, lease: Lease, reason: str = "") -> LeaseEvent:
    return LeaseEvent(kind, lease.key, lease.token, lease.holder, reason)
