"""Senders that threads share."""

from __future__ import annotations

from typing import Any

import pytest

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.ilp import IlpSenders


class Sender:
    """Sends nothing."""

    is_closed = False

    def close(self, *, flush: bool) -> None:
        self.is_closed = True


class TakenMeanwhile(list[Any]):
    """Has one sender, until it is asked for it: another thread was quicker."""

    def __bool__(self) -> bool:
        return True

    def pop(self, *_: Any) -> Any:
        self.clear()
        raise IndexError("pop from empty list")


def test_a_sender_that_another_thread_took_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    senders = IlpSenders(QuestDbAddress("127.0.0.1"))
    made: list[Sender] = []
    monkeypatch.setattr(senders, "_new_sender", lambda: made.append(Sender()) or made[-1])
    monkeypatch.setattr(senders, "_idle", TakenMeanwhile([Sender()]))
    with senders._sender() as taken:
        assert taken is made[0]
    senders.close()
    assert made[0].is_closed and len(made) == 1
