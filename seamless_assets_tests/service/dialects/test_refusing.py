"""What is refused below an exchange's name is refused in its own words, so that ccxt knows what it means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import aiohttp
import ccxt
import httpx
import pytest
from service.dialects.conftest import NOW
from starlette.types import Receive, Scope, Send
from support.dialects import SYMBOLS, Rig, client, moved
from support.served import served

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import ReadRefused
from seamless_assets.service.answers.problems import problem_response
from seamless_assets.service.app import service_app
from seamless_assets.service.dialects.refusing import InDialect, exchange_of
from seamless_assets.service.dialects.usage.tally import Tally

PAGES = {
    "binance": "/binance/api/v3/klines?symbol=BTCUSDT&interval=1m",
    "bybit": "/bybit/v5/market/kline?symbol=BTCUSDT&interval=1",
    "coinbase": "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_MINUTE",
    "kraken": "/kraken/0/public/OHLC?pair=ADABTC&interval=1",
    "okx": "/okx/api/v5/market/candles?instId=ADA-BTC",
}
TOKEN = "t-token"
Kinds = type[Exception] | tuple[type[Exception], ...]


@pytest.fixture(scope="module")
def guarded(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same service for bearers of a token, one stream at once."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    limits = ServiceSettings.model_validate(
        {"dialects": True, "max_streams": 1, "tokens": {"bot": {"sha256": digest, "scopes": ["read"]}}}
    )

    async def scrape() -> str:
        return ""

    leases = MachineLeases(tmp_path_factory.mktemp("guarded") / "leases.sqlite")
    with served(service_app(rig.pipeline, leases, scrape, limits)) as url:
        yield url


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_without_a_token_ccxt_hears_of_its_key(guarded: str, name: str) -> None:
    with pytest.raises(ccxt.AuthenticationError):
        client(name, guarded, f"/{name}", ccxt).fetch_time()


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_a_token_is_the_password_of_the_base_url(guarded: str, name: str) -> None:
    bot = client(name, guarded, f"/{name}", ccxt)
    bot.urls["api"] = moved(bot.urls["api"], guarded.replace("//", f"//bot:{TOKEN}@"))
    assert 0 < len(bot.fetch_ohlcv(SYMBOLS[name][0], "1m", since=(NOW - 900) * 1_000, limit=5)) <= 5


async def test_a_token_is_the_password_for_awaiting_clients_too(guarded: str) -> None:
    bot = client("okx", guarded.replace("//", f"//bot:{TOKEN}@"), "/okx")
    try:
        assert len(await bot.fetch_ohlcv("ADA/BTC", "1m", limit=5)) == 5
    finally:
        await bot.close()


async def test_a_connection_wants_a_token_and_counts_among_the_streams(guarded: str) -> None:
    bearer = guarded.replace("//", f"//bot:{TOKEN}@")
    async with aiohttp.ClientSession() as session:

        async def opened(url: str) -> int:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{url}/binance/ws")
            return refused.value.status

        assert await opened(guarded) == await opened(guarded.replace("//", "//bot:wrong@")) == 401
        async with session.ws_connect(f"{bearer}/binance/ws") as socket:
            await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            assert await socket.receive_json() == {"result": [], "id": 1}
            assert await opened(bearer) == 429


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_what_is_not_served_is_refused_in_the_venues_words(rig: Rig, name: str) -> None:
    bot = client(name, rig.url, f"/{name}", ccxt)
    with pytest.raises(ccxt.ExchangeError, match=r"not declared|Unknown method"):
        bot.fetch_ohlcv(SYMBOLS[name][0], "5m")
    with pytest.raises(ccxt.ExchangeError, match=r"not kept|Unknown method"):
        bot.fetch_trades(SYMBOLS[name][0])


@pytest.mark.parametrize("name", sorted(SYMBOLS))
@pytest.mark.parametrize("path", ["/no/such/thing", "/"])
@pytest.mark.parametrize("world", ["", "/as-of/2025-01-10T00:00:00Z", "/as-of/nonsense", "/replay/0/x"])
def test_every_answer_below_a_venue_is_its_own(rig: Rig, name: str, path: str, world: str) -> None:
    answer = httpx.get(f"{rig.url}{world}/{name}{path}")
    words = VENUES[name].refusal("not_served", "")
    assert answer.status_code == words.status and answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == set(words.body)
    assert answer.headers["x-seamless-verdict"] == "REJECT"
    is_world = "x" not in world and "nonsense" not in world
    assert (answer.headers["x-seamless-as-of"] != "none") is is_world


@pytest.mark.parametrize("name", sorted(SYMBOLS))
@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["", "/"])
def test_a_venues_name_alone_is_refused_in_its_words(rig: Rig, name: str, verb: str, path: str) -> None:
    answer = httpx.request(verb, f"{rig.url}/{name}{path}")
    words = VENUES[name].refusal("not_served", "")
    assert answer.status_code == words.status and answer.headers["x-seamless-verdict"] == "REJECT"
    assert verb == "HEAD" or set(answer.json()) == set(words.body)
    assert answer.headers["x-seamless-as-of"] != "none"


def test_a_refusal_of_bybit_tells_the_clock_of_its_world(rig: Rig) -> None:
    twice = PAGES["bybit"].removeprefix("/bybit") + "&interval=1"
    for path in ("/nope", "/v5/market/recent-trade?category=spot&symbol=BTCUSDT", twice):
        answer = httpx.get(f"{rig.url}/as-of/2025-01-10T00:00:00Z/bybit{path}").json()
        assert answer["retCode"] == 10001 and answer["time"] == 1_736_467_200_000


@pytest.mark.parametrize("name", sorted(SYMBOLS))
@pytest.mark.parametrize(
    "world",
    ["/as-of/nonsense", "/as-of/2999-01-01T00:00:00Z", "/replay/0/2025-01-01", "/replay/fast/2025-01-01"],
)
def test_worlds_that_cannot_be_are_refused_in_the_venues_words(rig: Rig, name: str, world: str) -> None:
    answer = httpx.get(rig.url + world + PAGES[name])
    words = VENUES[name].refusal("bad_request", "")
    assert answer.status_code == words.status and set(answer.json()) == set(words.body)


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_a_parameter_that_comes_twice_is_refused(rig: Rig, name: str) -> None:
    again = PAGES[name].partition("?")[2].partition("&")[0]
    answer = httpx.get(f"{rig.url}{PAGES[name]}&{again}")
    words = VENUES[name].refusal("given_twice", "")
    assert answer.status_code == words.status and set(answer.json()) == set(words.body)
    assert answer.headers["x-seamless-verdict"] == "REJECT"
    assert answer.headers["x-seamless-as-of"] != "none"
    if name == "binance":
        assert answer.json()["code"] == -1101


def test_a_list_of_coinbase_is_given_once_for_each_of_its_values(rig: Rig) -> None:
    products = f"{rig.url}/coinbase/api/v3/brokerage/market/products"
    for ids, found in ((("BTC-USD", "NOPE-USD"), ["BTC-USD"]), (("A-B", "C-D"), []), ((), ["BTC-USD"])):
        listed = httpx.get(products, params=[("product_ids", name) for name in ids]).json()["products"]
        assert [product["product_id"] for product in listed] == found


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", -1102),
        ("symbol=BTCUSDT", -1102),
        ("symbol=&interval=1m", -1102),
        ("symbol=BTC/USDT&interval=1m", -1100),
        ("symbol=btcusdt&interval=1m", -1100),
        ("symbol=NOPEUSDT&interval=1m", -1121),
        ("symbol=币安人生USDT&interval=1m", -1121),
        ("symbol=BTCUSDT&interval=2m", -1120),
        *(
            (f"symbol=BTCUSDT&interval=1m&{odd}", -1100)
            for odd in ("limit=many", "startTime=-1", "endTime=1.5")
        ),
    ],
)
def test_binance_says_what_is_wrong_by_its_own_codes(rig: Rig, query: str, code: int) -> None:
    answer = httpx.get(f"{rig.url}/binance/api/v3/klines?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.headers["x-seamless-verdict"] == "REJECT"


@pytest.mark.parametrize("name", sorted(SYMBOLS))
@pytest.mark.parametrize("odd", ["symbol", "timeframe"])
def test_a_venues_own_no_is_a_reject_whatever_its_status(rig: Rig, name: str, odd: str) -> None:
    path = PAGES[name] + ("&bar=1m" if name == "okx" else "")
    for known in (
        ("BTCUSDT", "BTC-USD", "ADABTC", "ADA-BTC") if odd == "symbol" else ("ONE_MINUTE", "=1m", "=1")
    ):
        path = path.replace(known, "=7" if known.startswith("=") else "NOPE")
    for world in ("", "/as-of/2025-01-10T00:00:00Z"):
        answer = httpx.get(rig.url + world + path)
        assert answer.headers["x-seamless-verdict"] == "REJECT"
        # What is declared tomorrow is answered then, in worlds of the past too.
        assert "cache-control" not in answer.headers


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_a_path_with_a_slash_too_many_is_another_one(rig: Rig, name: str) -> None:
    path, words = PAGES[name].partition("?")[0], VENUES[name].refusal("not_served", "")
    for odd in (f"{path}/", path.replace(f"/{name}/", f"/{name}//")):
        answer = httpx.get(rig.url + odd)
        assert answer.status_code == words.status and set(answer.json()) == set(words.body)


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_an_order_is_refused(rig: Rig, name: str) -> None:
    answer = httpx.post(rig.url + PAGES[name].partition("?")[0], json={})
    assert set(answer.json()) == set(VENUES[name].refusal("not_served", "").body)


@pytest.fixture(scope="module")
def failing() -> Iterator[str]:
    """An application below the dialects that answers with the status of the path, or raises an error."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        said = scope["path"].split("/")[2]
        if said == "raise":
            raise ZeroDivisionError
        await problem_response(ReadRefused("the bars are on HOLD"), int(said))(scope, receive, send)

    with served(InDialect(answer, Tally())) as url:
        yield url


@pytest.mark.parametrize("name", sorted(SYMBOLS))
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("409", ccxt.OperationFailed),
        ("503", ccxt.OperationFailed),
        ("504", ccxt.OperationFailed),
        ("500", ccxt.OperationFailed),
        ("raise", ccxt.OperationFailed),
        ("429", (ccxt.DDoSProtection, ccxt.RateLimitExceeded)),
        ("401", ccxt.AuthenticationError),
        ("403", ccxt.AuthenticationError),
        ("421", ccxt.AuthenticationError),
        ("422", ccxt.ExchangeError),
        ("404", ccxt.ExchangeError),
    ],
)
def test_ccxt_knows_what_a_refusal_means(failing: str, name: str, status: str, kind: Kinds) -> None:
    bot = client(name, failing, f"/{name}/{status}", ccxt)
    with pytest.raises(kind) as told:
        bot.fetch_time()
    assert ("on HOLD" in str(told.value)) == (status != "raise")
    headers = {key.lower(): value for key, value in bot.last_response_headers.items()}
    is_temporary = kind is ccxt.OperationFailed
    assert headers["x-seamless-verdict"] == ("HOLD" if is_temporary else "REJECT")
    assert ("retry-after" in headers) == (status in ("429", "503"))


def test_paths_of_the_service_itself_are_in_no_dialect() -> None:
    assert [exchange_of(path) for path in ("/v1/history", "/binances", "/x/binance", "/as-of/binance")] == [
        None,
        None,
        None,
        None,
    ]
    assert exchange_of("/binance") == exchange_of("/as-of/1/binance/x") == "binance"
    assert exchange_of("/replay/60/1/okx") == exchange_of("/replay/60/1/as-of/2/okx/y") == "okx"


def test_without_the_setting_no_dialect_is_spoken(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> None:
    async def scrape() -> str:
        return ""

    leases = MachineLeases(tmp_path_factory.mktemp("plain") / "leases.sqlite")
    with served(service_app(rig.pipeline, leases, scrape, ServiceSettings())) as url:
        answer = httpx.get(url + PAGES["binance"])
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"
