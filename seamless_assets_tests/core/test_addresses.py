"""Addresses without their secrets, and texts without theirs."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.addresses import authorization_of, place_of, secrets_of, without_user
from seamless_assets.errors import SeamlessError, mask_causes, masked

words = st.text(st.characters(codec="utf-8"), min_size=1)


@given(words, words, st.sampled_from(["http://h", "https://h:1/a/b", "redis://[::1]:6379/0", "http://h/a"]))
def test_an_address_without_its_user_holds_none_of_it(user: str, password: str, address: str) -> None:
    scheme, rest = address.split("://")
    with_user = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
    assert without_user(with_user) == without_user(address) == address
    assert place_of(with_user).startswith(f"{address}~") and place_of(address) == address
    assert password in secrets_of(with_user) and secrets_of(address) == ()
    assert authorization_of(address) is None


def test_places_tell_users_apart() -> None:
    users = [f"me:{number}" for number in range(100)]
    assert len({place_of(f"http://{user}@host") for user in users}) == len(users)


def test_who_asks_is_named_as_it_was_meant() -> None:
    assert authorization_of("http://me:a%3Ab@h") == "Basic bWU6YTpi"
    assert authorization_of("http://token@h") == "Basic dG9rZW46"
    assert secrets_of("http://me@h") == ("me",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asked http://me:word@h:1/a, refused", "asked http://***@h:1/a, refused"),
        ("redis://:p@ss#w@h/0", "redis://***@h/0"),
        ("GET /a?symbol=X&apiKey=k1&signature=ab12 401", "GET /a?symbol=X&apiKey=***&signature=*** 401"),
        ("?X-Amz-Credential=a/b&X-Amz-Signature=f&x=1", "?X-Amz-Credential=***&X-Amz-Signature=***&x=1"),
        ("{'Authorization': 'Basic abc=='}", "{'Authorization': 'Basic ***'}"),
        ("authorization: Bearer a.b-c\nx: y", "authorization: Bearer ***\nx: y"),
        ("X-MBX-APIKEY: 1234; KC-API-PASSPHRASE: abcd", "X-MBX-APIKEY: ***; KC-API-PASSPHRASE: ***"),
        ("ohlcv:okx:BTC/USDT:USDT:1m at /a/b@c, key: x", "ohlcv:okx:BTC/USDT:USDT:1m at /a/b@c, key: x"),
    ],
)
def test_texts_are_shown_without_secrets(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert str(SeamlessError(text)) == expected


def test_named_secrets_are_taken_out_the_longer_ones_first() -> None:
    assert masked("abcdef abcd x", ("abcd", "abcdef", "x", "")) == "*** *** x"


def test_what_an_error_came_from_tells_nothing_either() -> None:
    def fail() -> None:
        try:
            try:
                raise OSError(5, "to http://me:word@h")
            except OSError as error:
                raise ValueError("the key is hunter2") from error
        except ValueError as error:
            mask_causes(error, ("hunter2",))
            raise SeamlessError("no") from error

    with pytest.raises(SeamlessError) as caught:
        fail()
    shown = "".join(traceback.format_exception(caught.value))
    assert "OSError: [Errno 5] to http://***@h" in shown and "ValueError: the key is ***" in shown
