"""What a dialect says to those who ask the same: in the venue's words, and nothing of it is kept."""

from __future__ import annotations

from typing import Any

from seamless_assets.dialects.base import Query, Refusal, Route
from seamless_assets.service.dialects.answers import Answers
from seamless_assets.service.dialects.visit import Visit

UNKNOWN = Refusal(400, {"msg": "unknown"})
"""Raised again and again, as venues' constants are."""


class Now:
    """Worlds of which only the live one is asked."""

    async def visit(self, exchange: str, world: Any, caller: str) -> Visit:
        return Visit(200.0)


async def refused(query: Query) -> Any:
    raise UNKNOWN


async def test_a_refusal_that_is_said_again_and_again_keeps_nothing_of_those_before() -> None:
    answers = Answers(Now())  # type: ignore[arg-type]
    for number in range(3):
        query = {"symbol": str(number)}
        answer = await answers.answer(Route("okx", "/x", refused), query, {}, "ann")
        assert (answer.status, answer.body) == (400, b'{"msg":"unknown"}') and answer.visit.is_refused
        assert UNKNOWN.__traceback__ is None
