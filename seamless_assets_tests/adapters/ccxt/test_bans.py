"""How exchanges say that they want no requests for a while: each in its own words, headers and units."""

from __future__ import annotations

import time
from email.utils import formatdate

import ccxt
import pytest

from seamless_assets.adapters.ccxt.answers import Answer, typed
from seamless_assets.adapters.ccxt.limits import pause_asked_for
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, RateLimited

NOW = 1_790_000_000
DATE = {"Date": formatdate(NOW, usegmt=True)}
SOON = NOW + 12

SAID = [
    ("any", {"Retry-After": "12"}, ""),
    ("any, a date", {"retry-after": formatdate(SOON, usegmt=True)}, ""),
    ("any, in ms", {"Retry-After-Ms": "12000"}, ""),
    ("binance, a ban", {}, f"Way too many requests; IP banned until {SOON}000. Use websocket streams"),
    (
        "kucoin",
        {"gw-ratelimit-limit": "4000", "gw-ratelimit-remaining": "0", "gw-ratelimit-reset": "12000"},
        "",
    ),
    (
        "bybit",
        {"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": f"{SOON}000"},
        "",
    ),
    ("gate", {"X-Gate-RateLimit-Requests-Remain": "0", "X-Gate-RateLimit-Reset-Timestamp": f"{SOON}"}, ""),
    ("htx", {"ratelimit-limit": "10", "ratelimit-remaining": "0", "ratelimit-expire": f"{SOON}000"}, ""),
    (
        "bitmex",
        {"x-ratelimit-limit": "120", "x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{SOON}"},
        "",
    ),
    ("phemex", {"x-ratelimit-remaining-ip": "0", "x-ratelimit-retry-after-ip": "12"}, ""),
    ("deribit", {}, '{"error":{"code":10028,"message":"too_many_requests","data":{"wait":12}}}'),
    ("a gateway", {"X-RateLimit-Reset-After": "12"}, ""),
    (
        "a proxy by the standard",
        {"RateLimit-Limit": "10", "RateLimit-Remaining": "0", "RateLimit-Reset": "12"},
        "",
    ),
    ("an older draft", {"RateLimit": "limit=100, remaining=0, reset=12"}, ""),
    ("a newer draft", {"RateLimit": '"default";r=0;t=12'}, ""),
    ("two, the explicit one first", {"Retry-After": "12", "x-ratelimit-reset": f"{NOW + 900}"}, ""),
    ("two, the sooner one", {"x-ratelimit-reset": f"{NOW + 900}", "x-ratelimit-minute-reset": f"{SOON}"}, ""),
]


@pytest.mark.parametrize(("headers", "body"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_each_way_to_ask_for_a_pause_is_understood(headers: dict[str, str], body: str) -> None:
    assert pause_asked_for({**DATE, **headers}, body) == pytest.approx(12.0)
    assert pause_asked_for({**DATE, **{name.upper(): value for name, value in headers.items()}}, body) == 12.0


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        # okx and kraken say it in a code alone.
        ({}, '{"code":"50011","msg":"Too Many Requests"}'),
        ({}, '{"error":["EAPI:Rate limit exceeded"]}'),
        ({"x-ratelimit-remaining": "0"}, ""),
        ({"x-ratelimit-reset": "soon"}, ""),
        ({"RateLimit": "none"}, ""),
        ({"Retry-After": ""}, "wait: 12"),
    ],
)
def test_where_nothing_is_said_nothing_is_made_up(headers: dict[str, str], body: str) -> None:
    assert pause_asked_for({**DATE, **headers}, body) is None


@pytest.mark.parametrize("skew", [0, -7_200, 86_400])
def test_an_epoch_is_of_the_exchanges_own_clock(skew: int) -> None:
    theirs = time.time() + skew
    headers = {"Date": formatdate(theirs, usegmt=True), "x-ratelimit-reset": str(int(theirs) + 30)}
    assert pause_asked_for(headers) == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("error", "status", "headers", "waits"),
    [
        (ccxt.RateLimitExceeded, 429, {}, None),
        (ccxt.DDoSProtection, 418, {"Retry-After": "9"}, 9.0),
        (ccxt.DDoSProtection, 200, {}, None),
        (ccxt.ExchangeError, 429, {"gw-ratelimit-reset": "9000"}, 9.0),
        (ccxt.ExchangeNotAvailable, 403, {"Retry-After": "9"}, 9.0),
        (ccxt.ExchangeNotAvailable, 503, {"Retry-After": "9"}, 9.0),
        (ccxt.OnMaintenance, 503, {"Retry-After": "9"}, 9.0),
        # What no clock can wait for is handed on by services, logs and Redis all the same.
        (ccxt.RateLimitExceeded, 429, {"Retry-After": "inf"}, LONGEST_COOL_DOWN_S),
        (ccxt.RateLimitExceeded, 429, {"Retry-After": "9" * 400}, LONGEST_COOL_DOWN_S),
        (ccxt.RateLimitExceeded, 429, {"x-ratelimit-reset": "9999999999"}, LONGEST_COOL_DOWN_S),
    ],
)
def test_what_asks_for_a_pause_is_a_limit_whatever_ccxt_calls_it(
    error: type[ccxt.BaseError], status: int, headers: dict[str, str], waits: float | None
) -> None:
    typed_error = typed(error("no"), [Answer("https://exchange/klines", status, headers, True)], "candles")
    assert isinstance(typed_error, RateLimited) and typed_error.retry_after == waits


@pytest.mark.parametrize("status", [200, 400])
def test_what_may_succeed_later_is_an_outage_and_what_will_not_is_refused(status: int) -> None:
    """binance tells of its own troubles with codes from -1000 on, which ccxt knows to be of that kind."""
    heard = [Answer("https://api.binance.com/api/v3/klines", status, {}, is_readable=True)]
    assert isinstance(typed(ccxt.OperationFailed("code -1001"), heard, "candles"), ExchangeUnavailable)
    refused = [
        typed(kind("code"), heard, "candles")
        for kind in (ccxt.BadSymbol, ccxt.PermissionDenied, ccxt.BadRequest)
    ]
    assert {type(each) for each in refused} == {ExchangeRefused}
    assert [each.is_lasting for each in refused] == [True, True, False]


@pytest.mark.parametrize("status", [403, 500, 502, 503])
def test_what_asks_for_none_is_an_outage(status: int) -> None:
    headers = {"x-ratelimit-reset": str(NOW + 900)}
    typed_error = typed(
        ccxt.ExchangeNotAvailable("no"), [Answer("https://exchange", status, headers, True)], "candles"
    )
    assert isinstance(typed_error, ExchangeUnavailable) and not isinstance(typed_error, RateLimited)
