"""What a sound configuration means: defaults, folders, variables, secrets."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.blueprint import BLUEPRINT

from seamless_assets.config.load import SMALLEST_YAML, Settings, load_settings, settings_from_mapping
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ConfigError

NEW_YEAR_2025 = 1_735_689_600
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SEAMLESS_CONFIG",
        "QMTL_SEAMLESS_COORDINATOR_URL",
        "QMTL_CCXT_RATE_LIMITER_REDIS",
        "QMTL_SEAMLESS_ARTIFACTS",
        "QMTL_SEAMLESS_ARTIFACT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


def load(folder: Path, text: str) -> Settings:
    file = folder / "seamless.yaml"
    file.write_text(text)
    return load_settings(file)


def settings(environ: dict[str, str] | None = None, **sections: Any) -> Settings:
    mapping = {
        "seamless": {"artifact": {"object_store_uri": "store"}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
        **sections,
    }
    return settings_from_mapping(mapping, "/base", environ or {})


def test_the_smallest_file_loads_with_the_blueprints_defaults(tmp_path: Path) -> None:
    small = load(tmp_path, SMALLEST_YAML)
    whole = load(tmp_path, BLUEPRINT)
    for section in ("conformance", "sla", "backfill", "observability"):
        assert getattr(small.seamless, section) == getattr(whole.seamless, section)
    assert small.cache == whole.cache
    assert small.domains == whole.domains
    assert small.seamless.strategy == "SEAMLESS"
    assert (small.coordinator_url, small.redis_dsn) == (None, None)


def test_the_whole_yaml_of_the_blueprint_loads(tmp_path: Path) -> None:
    whole = load(tmp_path, BLUEPRINT)
    assert [str(declared.node) for declared in whole.nodes] == [
        "ohlcv:binance:BTC/USDT:1m",
        "ohlcv:binance:ETH/USDT:1m",
        "ohlcv:coinbase:BTC/USDT:1m",
    ]
    assert {declared.start for declared in whole.nodes} == {NEW_YEAR_2025}
    assert whole.seamless.artifact.object_store_uri == "s3://qmtl-artifacts"
    assert whole.redis_dsn == "redis://redis.service.local:6379/0"
    assert whole.exchanges["coinbase"].sandbox


def test_the_projects_own_file_loads() -> None:
    own = load_settings(ROOT / "seamless.yaml")
    assert [str(declared.node) for declared in own.nodes] == [
        "ohlcv:binance:BTC/USDT:1m",
        "ohlcv:binance:BTC/USDT:1h",
        "ohlcv:binance:ETH/USDT:1m",
        "ohlcv:binance:ETH/USDT:1h",
        "ohlcv:coinbase:BTC/USD:1m",
    ]
    assert {exchange.base_url for exchange in own.exchanges.values()} == {"http://127.0.0.1:8080"}


def test_a_node_carries_its_exchange_and_start() -> None:
    loaded = settings(
        exchanges={"okx": {"symbols": ["BTC/USDT:USDT"], "start": "2025-02-01", "account": "a"}}
    )
    (declared,) = loaded.nodes
    assert declared.node == NodeId("okx", "BTC/USDT:USDT", Timeframe("1m"))
    assert declared.exchange is loaded.exchanges["okx"]
    assert declared.start == NEW_YEAR_2025 + 31 * 86_400


@pytest.mark.parametrize("start", ["2025-01-01", "2025-01-01T00:00:00Z", "'2025-01-01'", "1735689600"])
def test_a_start_may_be_a_date_an_instant_or_epoch_seconds(tmp_path: Path, start: str) -> None:
    assert load(tmp_path, SMALLEST_YAML.replace("2025-01-01", start)).nodes[0].start == NEW_YEAR_2025


def test_relative_folders_start_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    seamless = load(tmp_path, SMALLEST_YAML).seamless
    assert seamless.artifact.object_store_uri == str(tmp_path / "data/artifacts")
    assert seamless.hot_store.path == tmp_path / "data/hot.sqlite"
    assert seamless.hot_store.dsn == f"sqlite:///{tmp_path}/data/hot.sqlite"
    assert seamless.state_dir == tmp_path / "data/state"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/abs/store", "/abs/store"),
        ("file:///abs/store", "/abs/store"),
        ("../store", "/store"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("gs://bucket", "gs://bucket"),
    ],
)
def test_object_stores(written: str, meant: str) -> None:
    loaded = settings(seamless={"artifact": {"object_store_uri": written}})
    assert loaded.seamless.artifact.object_store_uri == meant


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("sqlite:////abs/hot.sqlite", Path("/abs/hot.sqlite")),
        ("sqlite:///hot.sqlite", Path("/base/hot.sqlite")),
        ("questdb://user:word@quest:9000", None),
    ],
)
def test_hot_stores(written: str, path: Path | None) -> None:
    loaded = settings(seamless={"artifact": {"object_store_uri": "s"}, "hot_store": {"dsn": written}})
    assert loaded.seamless.hot_store.path == path


def test_settings_know_their_file_and_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(tmp_path, SMALLEST_YAML)
    assert (loaded.file, loaded.base) == (tmp_path / "seamless.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    assert load_settings("below/../seamless.yaml").file == tmp_path / "seamless.yaml"
    assert loaded.without_retries().file == loaded.file
    of_a_mapping = settings()
    assert (of_a_mapping.file, of_a_mapping.base) == (None, Path("/base"))


def test_settings_travel_to_another_process_as_they_are(tmp_path: Path) -> None:
    for sent in (load(tmp_path, SMALLEST_YAML), settings(environment={"coordinator_url": "http://u:p@h:1"})):
        arrived = pickle.loads(pickle.dumps(sent))
        assert arrived == sent
        assert (arrived.file, arrived.base) == (sent.file, sent.base)
        assert arrived.nodes == sent.nodes


def test_the_file_is_argument_then_variable_then_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, symbol in (("seamless.yaml", "A/USDT"), ("env.yaml", "B/USDT"), ("arg.yaml", "C/USDT")):
        (tmp_path / name).write_text(SMALLEST_YAML.replace("BTC/USDT", symbol))
    monkeypatch.chdir(tmp_path)
    assert load_settings().nodes[0].node.symbol == "A/USDT"
    monkeypatch.setenv("SEAMLESS_CONFIG", str(tmp_path / "env.yaml"))
    assert load_settings().nodes[0].node.symbol == "B/USDT"
    assert load_settings(str(tmp_path / "arg.yaml")).nodes[0].node.symbol == "C/USDT"


def test_variables_are_substituted_in_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "bars")
    monkeypatch.setenv("SANDBOX", "true")
    monkeypatch.setenv("EMPTY", "")
    text = """\
seamless:
  artifact: {object_store_uri: "s3://${BUCKET}/${PREFIX:-v1}/${EMPTY:-e}"}
  sla:
    total_deadline_ms: ${DEADLINE:-2500}
exchanges:
  binance:
    symbols: ["BTC/${QUOTE:-USDT}"]
    sandbox: ${SANDBOX}
    account: "$${BUCKET} $HOME"
    rate_limit_rps: ${RPS:-2.5}
"""
    loaded = load(tmp_path, text)
    exchange = loaded.exchanges["binance"]
    assert loaded.seamless.artifact.object_store_uri == "s3://bars/v1/e"
    assert loaded.seamless.sla.total_deadline_ms == 2500
    assert exchange.symbols == ("BTC/USDT",)
    assert (exchange.sandbox, exchange.rate_limit_rps) == (True, 2.5)
    assert exchange.account == "${BUCKET} $HOME"


def test_the_blueprints_variables_fill_what_is_left_open() -> None:
    loaded = settings(
        {
            "QMTL_SEAMLESS_COORDINATOR_URL": "http://leases:8000",
            "QMTL_CCXT_RATE_LIMITER_REDIS": "redis://budget:6379/1",
            "QMTL_SEAMLESS_ARTIFACT_DIR": "sealed",
        },
        seamless=None,
    )
    assert loaded.coordinator_url == "http://leases:8000"
    assert loaded.redis_dsn == "redis://budget:6379/1"
    assert loaded.seamless.artifact.object_store_uri == "/base/sealed"


def test_what_the_file_says_goes_before_the_variables() -> None:
    loaded = settings(
        {
            "QMTL_SEAMLESS_COORDINATOR_URL": "http://a:1",
            "QMTL_CCXT_RATE_LIMITER_REDIS": "redis://a",
            "QMTL_SEAMLESS_ARTIFACT_DIR": "a",
        },
        seamless={"artifact": {"object_store_uri": "b"}, "rate_limit": {"redis_dsn": "redis://b"}},
        environment={"coordinator_url": "redis://b"},
    )
    assert loaded.coordinator_url == "redis://b"
    assert loaded.redis_dsn == "redis://b"
    assert loaded.seamless.artifact.object_store_uri == "/base/b"


def test_the_artifact_switch_turns_on_a_local_store() -> None:
    on = settings({"QMTL_SEAMLESS_ARTIFACTS": "1"}, seamless={})
    assert on.seamless.artifact.object_store_uri == "/base/data/artifacts"
    with pytest.raises(ConfigError, match=r"seamless\.artifact\.object_store_uri"):
        settings({"QMTL_SEAMLESS_ARTIFACTS": "0"}, seamless={})


def test_empty_sections_mean_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST_YAML + "cache:\ndomains:\n  live:\n") == load(tmp_path, SMALLEST_YAML)


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = SMALLEST_YAML + "  kraken: &k\n    symbols: [BTC/USD]\n    account: x\n"
    loaded = load(tmp_path, text + "  bitstamp: {<<: *k, account: y}\n  gemini: *k\n")
    assert loaded.exchanges["bitstamp"].symbols == ("BTC/USD",)
    assert loaded.exchanges["bitstamp"].account == "y"
    assert loaded.exchanges["gemini"] == loaded.exchanges["kraken"]


def test_secrets_are_not_shown() -> None:
    loaded = settings(
        {"KEY": "hunter2"},
        exchanges={
            "binance": {
                "symbols": ["BTC/USDT"],
                "api_key": "${KEY}",
                "secret": "hunter2",
                "proxy": "http://me:hunter2@proxy:3128",
                "options": {"token": "hunter2"},
            }
        },
        environment={"rate_limiter_redis": "redis://:hunter2@redis:6379"},
    )
    assert "hunter2" not in repr(loaded)
    assert "hunter2" not in str(loaded)
    assert loaded.redis_dsn is not None
    assert loaded.redis_dsn.masked == "redis://***@redis:6379"
    assert loaded.exchanges["binance"].client_options == {
        "apiKey": "hunter2",
        "secret": "hunter2",
        "httpsProxy": "http://me:hunter2@proxy:3128",
        "options": {"token": "hunter2"},
    }


def test_client_options_of_a_plain_exchange_are_empty() -> None:
    plain = settings(exchanges={"binance": {"symbols": ["BTC/USDT"], "api_key": ""}})
    assert plain.exchanges["binance"].client_options == {}
    tuned = {"symbols": ["BTC/USDT"], "timeout_ms": 5, "proxy": "socks5://p:1"}
    assert settings(exchanges={"binance": tuned}).exchanges["binance"].client_options == {
        "timeout": 5,
        "socksProxy": "socks5://p:1",
    }


def test_settings_cannot_be_changed() -> None:
    loaded = settings()
    with pytest.raises(ValidationError):
        loaded.seamless.sla.total_deadline_ms = 1


def test_the_callers_mapping_is_not_changed() -> None:
    mapping = {"seamless": {"artifact": None}, "exchanges": {"binance": {"symbols": ("BTC/USDT",)}}}
    settings_from_mapping(mapping, environ={"QMTL_SEAMLESS_ARTIFACT_DIR": "x"})
    assert mapping == {"seamless": {"artifact": None}, "exchanges": {"binance": {"symbols": ("BTC/USDT",)}}}


def test_partition_units() -> None:
    loaded = settings(seamless={"artifact": {"object_store_uri": "s"}, "partitions": {"1m": "month"}})
    units = {name: loaded.partition_unit(Timeframe(name)) for name in ("1m", "5m", "1h", "1d")}
    assert units == {"1m": "month", "5m": "day", "1h": "month", "1d": "year"}


def test_budgets_follow_the_exchange() -> None:
    loaded = settings(
        seamless={
            "artifact": {"object_store_uri": "s"},
            "rate_limit": {"tokens_per_interval": 600, "interval_ms": 60_000, "burst_tokens": 20},
        },
        exchanges={
            "binance": {"symbols": ["BTC/USDT"], "rate_limit_rps": 4, "account": "desk"},
            "kraken": {"symbols": ["BTC/USD"]},
        },
    )
    assert loaded.budget("binance").tokens_per_second == 4
    assert loaded.budget("kraken").tokens_per_second == 10
    assert loaded.budget("kraken").burst == 20
    assert (loaded.min_interval_ms("binance"), loaded.min_interval_ms("kraken")) == (250, 100)
    assert (loaded.budget_key("binance"), loaded.budget_key("kraken")) == ("ccxt:binance:desk", "ccxt:kraken")


@pytest.mark.parametrize("rps", [0.001, 0.5, 1, 3.5, 20, 1_000])
def test_requests_a_second_bound_the_burst_where_no_other_is_set(rps: float) -> None:
    exchanges = {"binance": {"symbols": ["BTC/USDT"], "rate_limit_rps": rps}}
    alone = settings(exchanges=exchanges).budget("binance")
    assert (alone.burst, alone.tokens_per_second) == (rps, pytest.approx(rps))
    artifact = {"object_store_uri": "s"}
    declared = settings(
        exchanges=exchanges, seamless={"artifact": artifact, "rate_limit": {"burst_tokens": 50}}
    )
    assert declared.budget("binance").burst == 50
    assert settings().budget("binance").burst == 200


def test_a_minimum_interval_that_is_set_wins() -> None:
    limit = {"min_interval_ms": 0}
    loaded = settings(seamless={"artifact": {"object_store_uri": "s"}, "rate_limit": limit})
    assert loaded.min_interval_ms("binance") == 0


def test_severities_gather_the_switches() -> None:
    def severities(**conformance: Any) -> dict[str, str]:
        artifact = {"object_store_uri": "s"}
        loaded = settings(seamless={"artifact": artifact, "conformance": conformance})
        return loaded.seamless.conformance.severities

    assert severities() == {}
    assert severities(dtype_policy="lenient", gap_flagging=False) == {
        "dtype_mismatch": "warning",
        "gap": "information",
    }
    assert severities(gap_flagging=False, severity={"gap": "blocking"}) == {"gap": "blocking"}


def test_reading_settings_does_not_import_ccxt() -> None:
    script = (
        "import sys; from seamless_assets.config.load import load_settings; load_settings(sys.argv[1]);"
        "sys.exit('ccxt' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(ROOT / "seamless.yaml")], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_more_symbols_are_nodes_that_begin_somewhere() -> None:
    few = settings()
    assert [*few.starts] == [one.node for one in few.nodes]
    more = few.with_symbols("binance", ["ETH/USDT", "BTC/USDT"])
    assert len(more.nodes) == 2 * len(few.nodes)
    assert [*more.starts] == [one.node for one in more.nodes]
