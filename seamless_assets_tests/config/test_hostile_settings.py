"""Whatever a file or a mapping holds, the answer is settings that work or a `ConfigError`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from seamless_assets.config.document.reading import read_mapping, read_yaml
from seamless_assets.config.load import Settings, settings_from_mapping, settings_of
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import ConfigError
from seamless_assets.pipeline.wiring.policy import policy_of, read_settings

SOUND: dict[str, Any] = {
    "seamless": {"artifact": {"object_store_uri": "./artifacts"}},
    "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
}
FILE = "seamless: {artifact: {object_store_uri: ./artifacts}}\nexchanges: {binance: {symbols: [BTC/USDT]}}\n"
"""Two lines, to which sections can be appended."""
NUMBERS = [0, -1, 1, 2.5, 10**400, -(10**5000), -0.0, 1e308, float("nan"), float("inf"), True, 1j, Decimal(1)]
TEXTS = [
    *("", " ", "é", "\0", "\ud800", "\x1b[31m", "\u202e", "a\nb", "x" * 300, "x/" * 3000),
    *("1", "9" * 60, "9" * 5000, "1e999", "nan", "true", "0x1p9", "1m", "1M", "999999y", "0m", "BTC/USDT"),
    *("2025-01-01", "9999-12-31", "0001-01-01T00:00:00+23:59", "2025-02-31", "999999999999"),
    *("./a", "~", "~nobody-here/a", "a\0b", "..", "/dev/null/x", "/etc/passwd", "/etc"),
    *("http://h", "http://[::1", "http://u:p#w@h", "http://h:0", "http://h:99999", "http://", "http://é"),
    *("redis://h/x", "redis://u:1/x@h", "rediss://h?a=b", "questdb://:p@h", "s3://b/../c", "s3:/b", "s3://"),
    *("socks5://h", "socks4://u:p@h:1", "sqlite:///", "sqlite:///:memory:", "sqlite:////etc", "file://a"),
    *("${UNSET}", "${", "${X:-}", "$${", "{", "{exchange}", "{exchange!r}", "{0}", "{exchange", "}"),
]
OTHERS: list[Any] = [
    *([], [[]], [None], [""], ["BTC/USDT", "BTC/USDT"], ("BTC/USDT",), {}, {"a": {"b": []}}, {1: 2}),
    *({None: 1}, {"x-a": 1}, {"\0": 1}, {"\ud800": 1}, {"": ""}, {"1m": "day"}, {"1w": "day"}),
    *(b"\xff", b"1", date(2025, 1, 1), datetime(2025, 1, 1, tzinfo=UTC), Path("a"), Timeframe("1m")),
    *(
        datetime.fromisoformat("2025-01-01"),
        {1},
        frozenset(),
        iter([1]),
        range(3),
        object(),
        Exception,
        print,
    ),
]
ODD: list[Any] = [None, *NUMBERS, *TEXTS, *OTHERS]


def exercise(settings: Settings) -> None:
    """What others ask of settings must not fail where they were taken."""
    for item in settings.nodes:
        assert item.node.asset_key and item.node.path_values
        assert settings.partition_unit(item.node.timeframe)
        assert item.node.timeframe.floor(item.start) <= item.start
    for name, exchange in settings.exchanges.items():
        assert settings.budget(name).tokens_per_second > 0
        assert settings.budget(name).tolerance_s > 0
        assert settings.min_interval_ms(name) >= 0
        assert settings.budget_key(name)
        assert isinstance(exchange.client_options, dict)
    policy = policy_of(settings)
    assert policy.retry_delay(policy.max_attempts, 1.0, None) >= 0
    assert read_settings(settings).sla.total_deadline_ms > 0
    assert repr(settings) and str(settings.without_retries())
    assert pickle.loads(pickle.dumps(settings)) == settings


def judged(read: Callable[[], Settings]) -> bool:
    """Whether there are settings, and they work; else there is an error that can be shown."""
    try:
        settings = read()
    except ConfigError as error:
        refused = error
    else:
        exercise(settings)
        return True
    assert refused.problems
    assert str(refused) and repr(refused.problems)
    return False


def from_yaml(text: str) -> Settings:
    return settings_of(read_yaml(text, "file"), Path("/base"), {"X": "1"})


def places(kind: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that a section may have, with those of its sections."""
    for name, field in kind.model_fields.items():
        yield (*place, name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                exchange = ("binance",) if name == "exchanges" else ()
                yield from places(part, (*place, name, *exchange))


PLACES = sorted(places(Settings))
"""Every key of the settings."""


def changed(mapping: Any, place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of nested mappings with another value at `place`."""
    held = dict(mapping) if isinstance(mapping, dict) else {}
    first, *rest = place
    held[first] = changed(held.get(first), tuple(rest), value) if rest else value
    return held


def test_the_places_are_those_of_all_sections() -> None:
    assert len(PLACES) > 80
    assert ("exchanges", "binance", "proxy") in PLACES
    assert ("seamless", "artifact", "s3", "profile") in PLACES


@pytest.mark.deep
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_each_key_takes_each_odd_value_or_refuses_it(place: tuple[str, ...]) -> None:
    for value in ODD:
        judged(lambda value=value: settings_from_mapping(changed(SOUND, place, value), "/base", {"X": ""}))


def test_all_keys_at_once_refuse_each_odd_value() -> None:
    for shift in range(len(ODD)):
        mapping: dict[str, Any] = {}
        for at, place in enumerate(reversed(PLACES)):
            mapping = changed(mapping, place, ODD[(at + shift) % len(ODD)])
        assert not judged(lambda mapping=mapping: settings_from_mapping(mapping, "/base", {"X": ""}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ODD) | values), max_size=3))
def test_any_mapping_is_settings_or_an_error(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    mapping = SOUND
    for place, value in changes:
        mapping = changed(mapping, place, value)
    judged(lambda: settings_from_mapping(mapping, "/base", {"X": "1"}))


@given(st.dictionaries(st.sampled_from([*SOUND, "cache", "domains", "a"]) | st.text(), values, max_size=3))
def test_any_yaml_of_values_is_settings_or_an_error(values: dict[str, Any]) -> None:
    judged(lambda: from_yaml(FILE + yaml.safe_dump(values, allow_unicode=True)))


TOKENS = [
    *("a", "cache", "exchanges", "binance", "symbols", "x-a", "1", "yes", "~", "é", "=", "<<", "9" * 80),
    *(":", ": ", ", ", "- ", "? ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", "'", '"', "|\n", "> \n", "#"),
    *("&a ", "*a", "&b ", "*b", "<<: ", "<<: *a", "!!set ", "!!binary ", "!!int ", "!!float ", "!!bool "),
    *("!!timestamp ", "!x ", "!", "!<a> ", "%YAML 1.1\n", "---\n", "...\n", "@", "`", "\\", "\t", "\r"),
    *("1:2:3", "0x", "0b1", "1_0", ".inf", ".nan", "1e5", "2025-02-31", "2025-01-01", "\u2028", "\x85"),
    *("\ufeff", "\x01", '"\\0"', '"\\ud800"', "${X}", "${"),
]


@given(st.sampled_from(["", FILE]), st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
@example("", '"\\ud800": 1')
@example("", "a: !!int\n")
@example("", "a: !!timestamp b")
@example("", "a: &a {<<: *a}")
@example("", "a: =\n<<: 1")
def test_any_yaml_is_settings_or_an_error(before: str, text: str) -> None:
    judged(lambda: from_yaml(before + text))


@given(st.text())
def test_any_text_is_an_error(text: str) -> None:
    assert not judged(lambda: from_yaml(text))


@pytest.mark.parametrize("mapping", [None, 5, "seamless: {}", [("seamless", {})], object()])
def test_what_is_no_mapping_is_an_error(mapping: Any) -> None:
    assert not judged(lambda: settings_from_mapping(mapping))


@pytest.mark.parametrize("base", [None, 5, "", "a\0b", b"a"])
def test_what_is_no_folder_is_an_error(base: Any) -> None:
    assert not judged(lambda: settings_from_mapping(SOUND, base))


def test_a_mapping_that_holds_itself_is_an_error() -> None:
    held: dict[str, Any] = {**SOUND}
    held["cache"] = [held, held]
    assert [str(problem) for problem in read_mapping(held, "settings").problems] == [
        "settings: is nested more than 32 deep; no settings are"
    ]
