"""Answers that are kept: as many as fit, whatever was asked for them."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

from seamless_assets.service.answers.replies import IMMUTABLE, ImmutableReplies


async def answer(_: Scope, __: Receive, send: Send) -> None:
    headers = [(b"cache-control", IMMUTABLE.encode()), (b"x-seamless-world", b"w" * 500)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1,2"})


async def test_small_answers_to_long_questions_fill_the_room_that_there_is() -> None:
    replies = ImmutableReplies(answer, most_bytes=100_000)

    async def receive() -> Message:
        raise AssertionError("nothing is received")

    async def send(_: Message) -> None: ...

    for number in range(200):
        query = f"world_id={'x' * 2_000}{number}".encode()
        scope = {"type": "http", "method": "GET", "path": "/v1/history", "query_string": query, "headers": []}
        await replies(scope, receive, send)
    assert 5 <= len(replies._kept) <= 100_000 // 6_500
