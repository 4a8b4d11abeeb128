"""Who may ask for what: every route with every token, names of other machines, too much at once, too long."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from service.conftest import NODE, SCOPES, TOKENS, Client
from starlette.types import Receive, Scope, Send

from seamless_assets.config.sections import ServiceSettings, TokenSettings
from seamless_assets.errors import ConfigError
from seamless_assets.service.access import Access, require_tokens, right_for

NOBODY = (
    None,
    "",
    "Bearer",
    "Bearer nonsense",
    "Token r-token",
    "Bearer r-token x",
    "Basic !!",
    "Basic cg==",
)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path that the application describes."""
    return [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]


async def test_every_route_asks_for_its_scope(make_app: Callable[..., FastAPI], client: Client) -> None:
    asked = routes(make_app(tokens=True))
    rights = {path: right_for(path) for _, path in asked}
    assert len(asked) > 20 and set(rights.values()) == {None, "read", "lease", "operate"}
    assert {path for path, right in rights.items() if right is None} == {"/healthz", "/readyz"}
    async with client(tokens=True) as ask:
        for method, path in asked:
            right = rights[path]
            for name, token in TOKENS.items():
                answer = await ask.request(method, path, headers={"Authorization": f"Bearer {token}"})
                may = right is None or right in SCOPES[name]
                assert (answer.status_code not in (401, 403)) is may, (method, path, name, answer.text)
                assert may or answer.json()["error"] == "AccessRefused"
            for credentials in NOBODY:
                headers = {} if credentials is None else {"Authorization": credentials}
                answer = await ask.request(method, path, headers=headers)
                assert (answer.status_code == 401) is (right is not None), (method, path, credentials)
                if right is not None:
                    assert "Bearer" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/leases2", "/V1/history", "//v1/history", "/v1/history/"]
)
async def test_what_is_not_there_is_shown_to_those_who_may_read_alone(client: Client, path: str) -> None:
    async with client(tokens=True) as ask:
        assert (await ask.get(f"http://127.0.0.1{path}")).status_code == 401
        answer = await ask.get(f"http://127.0.0.1{path}", headers={"Authorization": "Bearer r-token"})
        assert answer.status_code in (307, 404)


async def test_a_browser_may_show_a_token_as_a_password(client: Client) -> None:
    shown = base64.b64encode(b"anything:r-token").decode()
    async with client(tokens=True) as ask:
        answer = await ask.get("/v1/nodes", headers={"Authorization": f"Basic {shown}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8765", True),
        ("localhost:1", True),
        ("[::1]:8765", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.5:8765", False),
        ("", False),
    ],
)
async def test_without_tokens_this_machine_is_served_under_its_own_names(
    client: Client, host: str, is_served: bool
) -> None:
    async with client() as ask:
        for path in ("/v1/nodes", "/healthz"):
            answer = await ask.get(path, headers={"Host": host})
            assert (answer.status_code == 200) is is_served, answer.text
    async with client(tokens=True) as ask:
        headers = {"Host": host, "Authorization": "Bearer r-token"}
        assert (await ask.get("/v1/nodes", headers=headers)).status_code == 200


async def test_a_page_of_another_site_changes_nothing(client: Client) -> None:
    body = {"key": "k", "lease_ms": 1000}
    async with client() as ask:
        refused = await ask.post("/v1/leases/claim", json=body, headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        assert (await ask.get("/v1/leases")).json()["leases"] == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_reads_nothing_that_fills_or_is_remembered(
    client: Client, site: str
) -> None:
    async with client() as ask:
        for path in (f"/v1/history?node={NODE}&strategy=AUTO_BACKFILL", "/v1/nodes"):
            assert (await ask.get(path, headers={"Sec-Fetch-Site": site})).status_code == 403
        for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
            assert (await ask.get("/v1/nodes", headers=headers)).status_code == 200
        # A link to the page may be followed from anywhere.
        followed = await ask.get("/", headers={"Sec-Fetch-Site": site}, follow_redirects=True)
        assert followed.status_code == 200 and "html" in followed.headers["content-type"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "data.example"])
def test_other_machines_are_let_in_by_tokens_alone(host: str) -> None:
    with pytest.raises(ConfigError, match="seamless token"):
        require_tokens(host, {})
    require_tokens(host, {"bot": TokenSettings(sha256="0" * 64, scopes=("read",))})
    for here in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        require_tokens(here, {})


class Held:
    """An application whose answers wait for a word."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Semaphore(0), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.release()
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def guarded(app: Any, **settings: Any) -> httpx.AsyncClient:
    access = Access(app, ServiceSettings.model_validate(settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(access), base_url="http://127.0.0.1")


async def test_more_requests_at_once_than_one_bearer_may_have_wait_for_another_time() -> None:
    app = Held()
    async with guarded(app, max_concurrent=2) as ask:
        under_way = [asyncio.create_task(ask.get("/v1/nodes")) for _ in range(2)]
        for _ in under_way:
            await app.begun.acquire()
        refused = await ask.get("/v1/nodes")
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["facts"] == {"limit": 2}
        app.go.set()
        assert [answer.status_code for answer in await asyncio.gather(*under_way)] == [200, 200]
        assert (await ask.get("/v1/nodes")).status_code == 200


async def test_a_request_that_is_cancelled_gives_its_place_back() -> None:
    app = Held()
    async with guarded(app, max_concurrent=1) as ask:
        under_way = asyncio.create_task(ask.get("/v1/nodes"))
        await app.begun.acquire()
        under_way.cancel()
        await asyncio.wait({under_way})
        app.go.set()
        assert (await ask.get("/v1/nodes")).status_code == 200


async def test_an_answer_that_does_not_begin_in_time_is_given_up() -> None:
    app = Held()
    async with guarded(app, max_wait_ms=20) as ask:
        answer = await ask.get("/v1/nodes")
        assert answer.status_code == 504 and answer.json()["error"] == "SeamlessSLAExceeded"


async def test_a_token_is_no_part_of_an_answer(client: Client) -> None:
    async with client(tokens=True) as ask:
        answer = await ask.get(
            "/v1/history", params={"node": NODE, "x": "r-token"}, headers={"Authorization": "Bearer o-token"}
        )
        assert answer.status_code == 403 and "token" in answer.text
        assert not any(text in answer.text for text in TOKENS.values())
