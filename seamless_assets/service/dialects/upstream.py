"""What is not served, passed on to the exchange where the settings say so: what anybody may ask."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.wire.upstream import UpstreamAnswer
from seamless_assets.errors import AccessRefused, ExchangeRefused, NotServed
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.dialects.visit import Visit

KEYS = ("x-mbx-apikey", "x-bapi-api-key", "ok-access-key", "api-key", "cb-access-key")
"""Headers by which clients of the exchanges say who they are."""
SIGNED = frozenset({"signature", "sign", "apikey", "api_key", "api-key"})
"""Parameters that only a request with keys has."""
KEPT = ("content-type", "retry-after", "ratelimit", "x-ratelimit", "x-mbx-used-weight", "x-bapi-limit")
"""Headers of an exchange that clients go by, by how their names begin."""
CUT_S = 30.0
"""How long an answer is waited for by all who asked the same meanwhile."""


class Upstream:
    """Passes requests on, within the rate budget; those that ask the same at one time as one."""

    def __init__(self, pipeline: Seamless) -> None:
        self._portal = pipeline.aio.portal
        self._flights = SingleFlight(monotonic, CUT_S)

    def may_ask(self, request: Request, visit: Visit) -> bool:
        """Whether the exchange may be asked: not in a world of the past, nor by a request with keys."""
        return visit.as_of is None and not is_signed(request)

    async def answer(self, request: Request, exchange: str, path: str, visit: Visit) -> Response:
        """The exchange's own answer to a GET. Nothing of the request but path and parameters goes there.

        Raises `AccessRefused` for a request with keys, `NotServed` in a world of the past and where the
        exchange is not known to answer anybody, `ExchangeUnavailable`, `BudgetUnavailable`.
        """
        query = request.url.query
        if visit.as_of is not None:
            raise NotServed(f"{path[:100]} is not kept here, and a world of the past asks nobody")
        if is_signed(request):
            raise AccessRefused("requests with keys are not passed on; send them to the exchange")

        async def ask(ports: Ports) -> UpstreamAnswer:
            return await ports.source.ask_public(exchange, path, query)

        try:
            answer = await self._flights.do((exchange, path, query), lambda: self._portal.do(ask))
        except ExchangeRefused as error:
            raise NotServed(str(error)) from error
        headers = {name: value for name, value in answer.headers.items() if name.startswith(KEPT)}
        visit.is_refused = answer.status >= 400
        return Response(answer.text, answer.status, headers | visit.headers)


def is_signed(request: Request) -> bool:
    """Whether a request tells who asks, beside the token that this service wants."""
    names = {name.lower() for name, _ in parse_qsl(request.url.query, keep_blank_values=True)}
    return any(name in request.headers for name in KEYS) or not names.isdisjoint(SIGNED)
