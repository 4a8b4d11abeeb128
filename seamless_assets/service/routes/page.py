"""A page to look at: plain files of the package, served as they are."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as QueryString
from starlette.responses import RedirectResponse, Response

from seamless_assets.errors import NotServed
from seamless_assets.service.routes.queries import NoQuery

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
INDEX = "index.html"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> APIRouter:
    """The page below `/page/`; what it shows it asks of the other routes, with the token of who looks."""
    router = APIRouter(include_in_schema=False)
    folder = files("seamless_assets.service") / "page"
    held = {file.name: file.read_bytes() for file in folder.iterdir() if _suffix(file.name) in TYPES}

    @router.get("/")
    async def root(_: Annotated[NoQuery, QueryString()]) -> Response:
        return RedirectResponse("page/")

    @router.get("/page/")
    async def index(_: Annotated[NoQuery, QueryString()]) -> Response:
        return _file(held, INDEX)

    @router.get("/page/{name}")
    async def part(name: str, _: Annotated[NoQuery, QueryString()]) -> Response:
        return _file(held, name)

    return router


def _file(held: dict[str, bytes], name: str) -> Response:
    if name not in held:
        raise NotServed(f"the page has no part {name[:100]!r}; it is at /page/")
    return Response(held[name], headers=HEADERS, media_type=TYPES[_suffix(name)])


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2]}"
