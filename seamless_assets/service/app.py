"""The service: history, nodes, releases, sessions, leases, metrics and a page over one pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Protocol

from fastapi import Depends, FastAPI

from seamless_assets.config.load import Settings
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.wire.views import BudgetView
from seamless_assets.flows.ports import LeaseRegister
from seamless_assets.metrics.levels import Levels
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.access import Access, Occupancy
from seamless_assets.service.answers.newest import NewestReleases
from seamless_assets.service.answers.problems import answer_errors
from seamless_assets.service.answers.replies import KeptReplies
from seamless_assets.service.coordinator import add_leases
from seamless_assets.service.dialects.refusing import InDialect
from seamless_assets.service.dialects.routes import add_dialects
from seamless_assets.service.dialects.usage.routes import usage_routes
from seamless_assets.service.dialects.usage.tally import Tally
from seamless_assets.service.limits import BodyLimits
from seamless_assets.service.metrics import add_levels
from seamless_assets.service.routes.events import LONG_BODIES, event_routes
from seamless_assets.service.routes.history import history_routes
from seamless_assets.service.routes.openapi import describe_values
from seamless_assets.service.routes.operations import operation_routes
from seamless_assets.service.routes.page import page_routes
from seamless_assets.service.routes.queries import once_each
from seamless_assets.service.routes.replays import replay_routes
from seamless_assets.service.routes.series import node_routes, release_routes
from seamless_assets.service.routes.sessions import session_routes
from seamless_assets.service.sessions import SessionLimit

PACKAGE = "seamless-assets"


class Closable(Protocol):
    """What an application closes when it ends."""

    async def close(self) -> None: ...


async def no_budgets() -> list[BudgetView]:
    """What is told of rate budgets where nobody asks for any."""
    return []


def service_app(
    pipeline: Seamless,
    leases: LeaseRegister,
    scrape: Callable[[], Awaitable[str]],
    settings: ServiceSettings | None = None,
    budgets: Callable[[], Awaitable[list[BudgetView]]] = no_budgets,
    held: Levels | None = None,
) -> FastAPI:
    """The application over an open pipeline; it closes `leases` when it ends, and the pipeline never.

    `settings` go before those of the pipeline; `budgets` tells what is free of rate budgets. What the
    application holds (requests, streams, sessions, ...) is added to `held`, which `scrape` may load.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for one in closed_at_end:
            await one.close()

    closed_at_end: list[Closable] = [leases]
    limits = settings or pipeline.settings.service
    tally = Tally()
    sessions = SessionLimit(pipeline, limits.max_sessions)
    app = FastAPI(
        title=PACKAGE,
        version=version(PACKAGE),
        description="Candle history that is ready, complete, reproducible and on time.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(once_each)],
    )
    for routes in (
        history_routes(pipeline, limits.max_rows, sessions),
        node_routes(pipeline, limits.max_rows),
        release_routes(pipeline),
        session_routes(pipeline, sessions),
        event_routes(pipeline),
        replay_routes(pipeline),
        operation_routes(pipeline, leases, scrape, budgets),
        usage_routes(pipeline, tally),
        page_routes(),
    ):
        app.include_router(routes)
    if limits.dialects:
        closed_at_end.extend(add_dialects(app, pipeline, limits))
    add_leases(app, leases, pipeline.aio.ports.observer, _kept_elsewhere(pipeline.settings))
    answer_errors(app)
    describe_values(app, needs_token=bool(limits.tokens))
    # The last one added is asked first.
    app.add_middleware(BodyLimits, longer=LONG_BODIES)
    app.add_middleware(KeptReplies, newest=NewestReleases(pipeline))
    occupancy = Occupancy()
    app.add_middleware(Access, settings=limits, occupancy=occupancy)
    if limits.dialects:
        app.add_middleware(InDialect, tally=tally)
    if held is not None:
        add_levels(held, pipeline, leases, occupancy)
    return app


def _kept_elsewhere(settings: Settings) -> str | None:
    """Where leases are kept if that is no service of ours: two granters would grant everything twice."""
    url = settings.coordinator_url
    return url.masked if url is not None and url.startswith("redis") else None
