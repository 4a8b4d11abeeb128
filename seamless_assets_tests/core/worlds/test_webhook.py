"""Messages of sessions: what is told of a change, how it is signed, when it is sent again."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import product

import pytest

from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.worlds.session import (
    SessionKey,
    SessionRecord,
    advance,
    observe,
    pin,
    session_event,
    unpin,
)
from seamless_assets.core.worlds.webhook import pause_s, signed_headers, signing_key, webhook_message
from seamless_assets.errors import InvalidInput

KEY = SessionKey("w1", "live", "ohlcv:binance:BTC/USDT:1m")
FINGERPRINT = "sha256:" + "a" * 64
VERDICTS = ("PASS", "PARTIAL", "HOLD", "REJECT")
RANKS = {"PASS": 0, "PARTIAL": 1, "HOLD": 2, "REJECT": 2}


@pytest.mark.parametrize(("first", "second"), list(product(VERDICTS, VERDICTS)))
def test_every_change_of_state_is_sent_with_its_dataset_and_no_other(first: str, second: str) -> None:
    bound = advance(SessionRecord(), "2025-01-01T00:00:00.000000Z", FINGERPRINT)
    before = observe(bound, Judgement(first, ("a: x",)), 1.0, bound.as_of, FINGERPRINT)  # type: ignore[arg-type]
    after = observe(before, Judgement(second, ("b: y",)), 2.0, bound.as_of, FINGERPRINT)  # type: ignore[arg-type]
    event = session_event(KEY, before, after)
    if RANKS[first] == RANKS[second]:
        assert event is None
        return
    assert event is not None
    assert event.kind == ("downgraded" if RANKS[second] > RANKS[first] else "restored")
    assert (event.at, event.as_of, event.dataset_fingerprint) == (2.0, bound.as_of, FINGERPRINT)
    assert event.reasons == ("b: y",)


def test_pins_are_sent_each_time_and_lifting_none_sends_nothing() -> None:
    record = SessionRecord()
    assert unpin(record, 1.0) is record
    pinned = pin(record, "2025-01-01T00:00:00.000000Z", FINGERPRINT, "doubtful", 5.0)
    again = pin(pinned, "2025-01-01T00:00:00.000000Z", FINGERPRINT, "still so", 6.0)
    free = unpin(again, 7.0)
    sent = [session_event(KEY, *pair) for pair in ((record, pinned), (pinned, again), (again, free))]
    assert [(event.kind, event.at, event.reasons) for event in sent if event] == [
        ("pinned", 5.0, ("pinned: doubtful",)),
        ("pinned", 6.0, ("pinned: still so",)),
        ("unpinned", 7.0, ("unpinned: still so",)),
    ]


def test_a_message_says_all_and_masks_what_a_reason_should_not_have_held() -> None:
    record = observe(
        SessionRecord(),
        Judgement("HOLD", ("fill_failed: GET http://me:hunter2@host/?signature=abcd failed",)),
        1_735_689_600.5,
        None,
        FINGERPRINT,
    )
    event = session_event(KEY, SessionRecord(), record)
    assert event is not None
    message = webhook_message(event, "s1", 7)
    body = json.loads(message.body)
    assert "hunter2" not in message.body and "abcd" not in message.body
    assert (body["id"], body["type"], body["timestamp"]) == (
        "msg_s1_7",
        "session.downgraded",
        "2025-01-01T00:00:00.500000Z",
    )
    assert (body["data"]["sequence"], body["data"]["stream"], body["data"]["after"]) == (7, "s1", "HOLD")


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    # The example that Standard Webhooks prints for those who implement it.
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, key)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    for changed in ({"message_id": "m"}, {"sent_at": 1}, {"body": body + b" "}, {"key": b"x" * 16}):
        arguments = {"message_id": headers["webhook-id"], "sent_at": 1_614_265_330, "body": body, "key": key}
        assert signed_headers(**{**arguments, **changed}) != headers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "secret", ["", "short", "whsec_", "whsec_!!!!", "whsec_" + b64encode(b"x" * 15).decode()]
)
def test_a_secret_that_protects_nothing_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        signing_key(secret)
    assert len(secret) < 8 or secret not in str(refused.value)


def test_pauses_grow_are_bounded_and_a_receiver_may_ask_for_more() -> None:
    assert [pause_s(attempts, None, 1.0) for attempts in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    assert pause_s(1, None, 0.0) == 0.5
    assert pause_s(1, 120.0, 1.0) == 120 and pause_s(1, 1e9, 1.0) == 3_600 and pause_s(9, 1.0, 1.0) == 60
