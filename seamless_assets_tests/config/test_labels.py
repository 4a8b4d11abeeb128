"""Groups, owners and tags: what the settings take, Dagster takes too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dagster import AssetSpec
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.config import labels
from seamless_assets.config.load import Settings
from seamless_assets.errors import ConfigError

WORDS = st.text(st.sampled_from("aZ09_.-/@: é%+"), max_size=12)


def taken(check: Callable[[str], str], word: str) -> bool:
    try:
        return check(word) == word
    except ValueError:
        return False


@given(WORDS, WORDS)
def test_what_is_taken_here_dagster_takes(word: str, other: str) -> None:
    owner = f"{word}@{other}.io"
    if taken(labels.group, word):
        AssetSpec("a", group_name=word)
    for name in (owner, f"team:{word}"):
        if taken(labels.owner, name):
            AssetSpec("a", owners=[name])
    if taken(labels.tag_key, word) and taken(labels.tag_value, other):
        AssetSpec("a", tags={word: other})


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"group": "market data"}, "group"),
        ({"group": ""}, "group"),
        ({"owners": ["ada"]}, "owners"),
        ({"owners": ["team:"]}, "owners"),
        ({"owners": "team:research"}, "owners"),
        ({"tags": {"a b": "c"}}, "tags"),
        ({"tags": {"a": "b c"}}, "tags"),
        ({"tags": {"a": "b" * 64}}, "tags"),
        ({"tags": {"seamless/exchange": "x"}}, "tags"),
        ({"tags": {"dagster/kind/sql": ""}}, "tags"),
        ({"tags": ["a"]}, "tags"),
    ],
    ids=str,
)
def test_others_are_a_problem_with_its_place(
    labels: dict[str, Any], place: str, settings_for: Callable[..., Settings]
) -> None:
    with pytest.raises(ConfigError, match=f"exchanges.binance.{place}"):
        settings_for({"binance": {"symbols": ["BTC/USDT"], **labels}})
