"""Addresses in the settings: what is read as something else than was meant is refused, with the way out."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.errors import ConfigError

FORMS = {
    ("exchanges", "binance", "base_url"): "http://{user}host:8080/path",
    ("exchanges", "binance", "proxy"): "socks5://{user}host:1080",
    ("environment", "coordinator_url"): "https://{user}host:8765",
    ("environment", "rate_limiter_redis"): "redis://{user}host:6379/0",
    ("seamless", "rate_limit", "redis_dsn"): "rediss://{user}host:6379/0",
    ("seamless", "hot_store", "dsn"): "questdb://{user}host:9000",
}
"""Every address that may say who asks."""
SPECIAL = "#?/@"


def settings(place: tuple[str, ...], value: Any) -> Settings:
    mapping: dict[str, Any] = {
        "seamless": {"artifact": {"object_store_uri": "store"}, "rate_limit": {}, "hot_store": {}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
        "environment": {},
    }
    section = mapping
    for part in place[:-1]:
        section = section.setdefault(part, {})
    section[place[-1]] = value
    return settings_from_mapping(mapping, "/base", {})


def taken(place: tuple[str, ...], value: str) -> str:
    held: Any = settings(place, value)
    for part in place:
        held = held[part] if isinstance(held, dict) else getattr(held, part)
    return str(held)


def refusal(place: tuple[str, ...], value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(place, value)
    (problem,) = caught.value.problems
    assert problem.key == ".".join(place)
    return str(problem.message)


@pytest.mark.parametrize("place", FORMS, ids=".".join)
@pytest.mark.parametrize("user", ["me:a{}b@", "me:12{}b@", "me:{}@", "{}:b@", "a{}b:c@", "me:1{}@x@"])
def test_an_unescaped_character_in_a_password_is_refused(place: tuple[str, ...], user: str) -> None:
    for character in SPECIAL:
        message = refusal(place, FORMS[place].format(user=user.format(character)))
        assert "percent-encode" in message and "%23" in message
        taken(place, FORMS[place].format(user="me:a" + quote(character, safe="") + "b@"))


@given(st.sampled_from(sorted(FORMS)), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_password_is_taken_as_it_was_meant_or_refused(place: tuple[str, ...], password: str) -> None:
    escaped = FORMS[place].format(user=f"me:{quote(password, safe='')}@")
    assert unquote(urlsplit(taken(place, escaped)).password or "") == password
    try:
        held = urlsplit(taken(place, FORMS[place].format(user=f"me:{password}@")))
    except ConfigError:
        return
    assert (held.hostname, held.password) == ("host", password)


@pytest.mark.parametrize("place", FORMS, ids=".".join)
@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "1e3", "x", "6379x"])
def test_a_port_out_of_range_is_refused(place: tuple[str, ...], port: str) -> None:
    scheme = FORMS[place].split(":")[0]
    assert "port of 1 to 65535" in refusal(place, f"{scheme}://host:{port}")


@pytest.mark.parametrize(
    ("port", "message"), [(0, "greater than 0"), (65_536, "equal to 65535"), ("x", "a whole")]
)
def test_a_port_of_its_own_is_one(port: object, message: str) -> None:
    mapping = {"dsn": "questdb://host", "pg_port": port}
    with pytest.raises(ConfigError, match=rf"hot_store.pg_port: must be .*{message}"):
        settings(("seamless", "hot_store"), mapping)


@pytest.mark.parametrize("place", FORMS, ids=".".join)
@pytest.mark.parametrize(
    "host", ["ho st", "ho\tst", "ho\nst", "host..", "-host", "a" * 64, "[::1", "[x]", "ho%41st", "h*st", ""]
)
def test_a_host_that_is_none_is_refused(place: tuple[str, ...], host: str) -> None:
    scheme = FORMS[place].split(":")[0]
    refusal(place, f"{scheme}://{host}:80")


@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1", "a_b", "köln.example", "x.y.", "A1"])
def test_hosts_of_all_kinds(host: str) -> None:
    assert taken(("exchanges", "binance", "base_url"), f"http://{host}:80/a") == f"http://{host}:80/a"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("exchanges.binance.base_url", "http://host/?a=1", "ends with ? or #"),
        ("exchanges.binance.base_url", "http://host#a", "ends with ? or #"),
        ("exchanges.binance.proxy", "http://host:3128/path", "goes on after its host"),
        ("exchanges.binance.proxy", "socks5://host", "names no port"),
        ("exchanges.binance.proxy", "socks5://user@host:1080", "tell both or neither"),
        ("exchanges.binance.proxy", "socks4://me:word@host:1080", "socks4 has no passwords"),
        ("seamless.hot_store.dsn", "questdb://host:9000/qdb", "goes on after its host"),
        ("seamless.hot_store.dsn", "questdb://:word@host:9000", "a password without a user"),
        ("seamless.hot_store.dsn", "sqlite:///hot.sqlite?mode=ro", "takes a path alone"),
        ("seamless.hot_store.dsn", "sqlite:////", "must name a file"),
        ("seamless.hot_store.dsn", "sqlite:////etc", "names a folder"),
        ("seamless.hot_store.dsn", "sqlite:///./data/state/leases.sqlite", "holds other things"),
        ("seamless.rate_limit.redis_dsn", "redis://host/zero", "no number of a database"),
        ("seamless.rate_limit.redis_dsn", "redis://host/0/1", "no number of a database"),
        ("seamless.rate_limit.redis_dsn", "redis://host/0#1", "ends with #"),
        ("seamless.rate_limit.redis_dsn", "redis://host/0?timeout=1", "takes nothing after ?"),
        ("seamless.rate_limit.redis_dsn", "redis://host?ssl_ca_certs=/etc/hosts", "takes nothing after ?"),
        ("seamless.rate_limit.redis_dsn", "rediss://host?ssl_ca_certs=/none", "is not there"),
        ("seamless.rate_limit.redis_dsn", "rediss://host?ssl_cert_reqs=no", "none or optional or required"),
        ("environment.coordinator_url", "http://host?a=b", "ends with ? or #"),
        ("environment.coordinator_url", "redis://host/zero", "no number of a database"),
        ("seamless.artifact.object_store_uri", "s3://key:word@bucket/prefix", "holds a user"),
        ("seamless.artifact.object_store_uri", "s3://bucket:9000/prefix", "does not name a bucket"),
        ("seamless.artifact.object_store_uri", "s3://bucket/a?b", "a prefix with ? # or %"),
        ("seamless.artifact.object_store_uri", "s3://bucket/a/../b", "an empty, . or .. part"),
        ("seamless.artifact.object_store_uri", "s3:/bucket/a", "fewer than two slashes"),
    ],
)
def test_what_nothing_would_read_is_refused(key: str, value: str, message: str) -> None:
    assert message in refusal(tuple(key.split(".")), value)


@pytest.mark.parametrize(
    ("s3", "key", "message"),
    [
        ({"endpoint_url": "http://me:word@h:1"}, "endpoint_url", "takes no user"),
        ({"session_token": "t"}, "session_token", "means nothing without"),
        ({"access_key_id": "a"}, "", "go together"),
        ({"profile": "p", "access_key_id": "a", "secret_access_key": "s"}, "profile", "contradicts"),
    ],
)
def test_ways_into_a_bucket_that_contradict_each_other(s3: dict[str, str], key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(("seamless", "artifact"), {"object_store_uri": "s3://bucket", "s3": s3})
    (problem,) = caught.value.problems
    assert problem.key == f"seamless.artifact.s3.{key}".removesuffix(".") and message in problem.message


def test_a_way_into_a_bucket_beside_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"artifact\.s3: is for s3:// only"):
        settings(("seamless", "artifact"), {"object_store_uri": "store", "s3": {"region": "eu"}})


AT = {"uri": "https://catalog.example.com/iceberg"}


@pytest.mark.parametrize(
    ("mirror", "catalog", "key", "message"),
    [
        (None, AT, "", "is for mirrors only"),
        ("iceberg", {"warehouse": "w"}, "", "names no uri"),
        ("iceberg", {"uri": "https://me:word@h"}, "uri", "takes no user"),
        ("iceberg", {"uri": "thrift://h:9083"}, "uri", "http"),
        ("iceberg", {**AT, "token": "t", "credential": "c:s"}, "token", "contradicts credential"),
        ("iceberg", {**AT, "scope": "all"}, "scope", "means nothing without credential"),
        ("iceberg", {**AT, "token": "t\n"}, "token", "control character"),
    ],
)
def test_catalogs_of_tables_that_nothing_would_read(
    mirror: str | None, catalog: dict[str, str], key: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(
            ("seamless", "artifact"), {"object_store_uri": "store", "mirror": mirror, "catalog": catalog}
        )
    (problem,) = caught.value.problems
    assert problem.key == f"seamless.artifact.catalog.{key}".removesuffix(".")
    assert message in problem.message and "t\n" not in problem.message


@pytest.mark.parametrize("coordinator", [None, "redis://127.0.0.1:6379/0"])
def test_a_token_for_leases_that_no_service_keeps_is_refused(coordinator: str | None) -> None:
    environment = {"service_token": "t0ken", "coordinator_url": coordinator}
    with pytest.raises(ConfigError, match=r"environment\.service_token: is for leases") as caught:
        settings(("environment",), environment)
    assert "t0ken" not in str(caught.value)
    settings(("environment",), {"service_token": "t0ken", "coordinator_url": "https://leases.example.com"})
