"""What an exchange answers to anybody, as ccxt knows it, and asking just that, word for word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import ccxt

from seamless_assets.adapters.ccxt.answers import UNREADABLE
from seamless_assets.core.wire.upstream import UpstreamAnswer

_PARAMETER = re.compile(r"\\\{\w+\\\}")
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_VERBS = frozenset({"get", "post", "put", "patch", "delete"})
_PUBLIC = re.compile(r"public|data$", re.IGNORECASE)

raw_answers: ContextVar[list[UpstreamAnswer] | None] = ContextVar("raw_answers", default=None)
"""Where the answers of a request are kept as they were sent; None where nobody wants them so."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that anybody may ask: `pattern` of its path, `host`, and what ccxt knows of its weight."""

    pattern: re.Pattern[str]
    scheme: str
    host: str
    api: Any
    name: str
    config: Mapping[str, Any]

    def url(self, path: str, query: str) -> str:
        """The address of a request."""
        return urlunsplit((self.scheme, self.host, quote(path), query, ""))

    def cost(self, client: Any, query: str) -> float:
        """Tokens of the rate budget that a request takes."""
        values = {name: given[-1] for name, given in parse_qs(query).items()}
        params = {name: int(value) if _NUMBER.fullmatch(value) else value for name, value in values.items()}
        # ccxt compares it with numbers; what is none in its place is refused by the exchange.
        if isinstance(params.get("limit"), str):
            del params["limit"]
        return float(client.calculate_rate_limiter_cost(self.api, "GET", self.name, params, self.config))


def public_endpoints(client: Any) -> list[Endpoint]:
    """All that a ccxt client asks by GET without a key; the longest paths first."""
    found = list(_endpoints(client, client.api, ()))
    hosts: dict[str, set[str]] = {}
    for endpoint in found:
        hosts.setdefault(endpoint.pattern.pattern, set()).add(endpoint.host)
    # Of a path that two hosts have nobody knows which one is meant.
    found = [endpoint for endpoint in found if len(hosts[endpoint.pattern.pattern]) == 1]
    return sorted(found, key=lambda endpoint: len(endpoint.pattern.pattern), reverse=True)


def endpoint_of(endpoints: list[Endpoint], path: str) -> Endpoint | None:
    """The endpoint that a path is of; None where ccxt knows it not, or asks it with keys alone."""
    return next((endpoint for endpoint in endpoints if endpoint.pattern.fullmatch(path)), None)


async def asked_raw(client: Any, url: str) -> UpstreamAnswer:
    """The answer to a GET as it was sent, errors too. Raises what ccxt does where there was none."""
    heard: list[UpstreamAnswer] = []
    token = raw_answers.set(heard)
    try:
        await client.fetch(url)
    except (ccxt.BaseError, *UNREADABLE):
        # What ccxt makes of an answer matters to nobody who has it as it was sent.
        if not heard:
            raise
    finally:
        raw_answers.reset(token)
    return heard[-1]


def _endpoints(client: Any, tree: Any, sections: tuple[str, ...]) -> Iterator[Endpoint]:
    for name, below in tree.items():
        if name == "get" and sections and _PUBLIC.search(sections[-1]):
            named = below.items() if isinstance(below, Mapping) else ((path, 1) for path in below)
            for path, config in named:
                yield from _endpoint(client, sections, path, config)
        elif isinstance(below, Mapping) and name not in _VERBS:
            yield from _endpoints(client, below, (*sections, name))


def _endpoint(client: Any, sections: tuple[str, ...], name: str, config: Any) -> Iterator[Endpoint]:
    api = list(sections)
    try:
        signed = client.sign(name, api, "GET", {})
    except (ccxt.BaseError, *UNREADABLE):
        # It wants a key, or a parameter of which its address is made.
        return
    scheme, host, path, *_ = urlsplit(signed["url"])
    pattern = re.compile(_PARAMETER.sub("[^/]+", re.escape(path)))
    costs = config if isinstance(config, Mapping) else {"cost": config}
    yield Endpoint(pattern, scheme, host, api, name, costs)
