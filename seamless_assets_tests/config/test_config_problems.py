"""What is wrong with a configuration, and on which line; all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seamless_assets.config.load import SMALLEST_YAML, Problem, load_settings, settings_from_mapping
from seamless_assets.errors import ConfigError

Found = tuple[int | None, str, str]
Finder = Callable[[str], list[Found]]
BASE = """\
seamless:
  artifact: {object_store_uri: ./store}
exchanges:
  binance:
    symbols: [BTC/USDT]
"""
SEAMLESS = "exchanges: {binance: {symbols: [BTC/USDT]}}\nseamless:\n  artifact: {object_store_uri: ./store}\n"
"""Three lines, to which keys of `seamless` can be appended."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SEAMLESS_CONFIG",
        "QMTL_SEAMLESS_COORDINATOR_URL",
        "QMTL_CCXT_RATE_LIMITER_REDIS",
        "QMTL_SEAMLESS_ARTIFACTS",
        "QMTL_SEAMLESS_ARTIFACT_DIR",
        "UNSET",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finder:
    """Problems of a text, as `(line, key, message)`."""
    monkeypatch.chdir(tmp_path)

    def find(text: str) -> list[Found]:
        Path("seamless.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_settings()
        return [(found.line, found.key, found.message) for found in caught.value.problems]

    return find


def only(found: list[Found]) -> Found:
    assert len(found) == 1, found
    return found[0]


IN_SEAMLESS = [
    ("strateg: SEAMLESS", "strateg", "unknown key; did you mean strategy?"),
    ("strategy: seamless", "strategy", "did you mean SEAMLESS?"),
    ("node_id_format: 'ohlcv:{exchange}:{pair}'", "node_id_format", "{pair} is not known here"),
    ("node_id_format: 'ohlcv:{exchange}'", "node_id_format", "must hold {symbol}, {timeframe} too"),
    ("node_id_format: 'x:{exchange}:{symbol}:{timeframe}'", "node_id_format", "node ids have one form"),
    ("conformance: {version: v1}", "conformance.version", "must be v2, not 'v1'"),
    ("conformance: {dtype_policy: loose}", "conformance.dtype_policy", "must be strict or lenient"),
    ("conformance: {severity: {gaps: warning}}", "conformance.severity.gaps", "did you mean gap?"),
    ("conformance: {severity: {gap: fatal}}", "conformance.severity.gap", "must be information or"),
    ("conformance: {gap_flagging: 1}", "conformance.gap_flagging", "must be true or false, not 1"),
    ("sla: {max_wait_live_ms: 0}", "sla.max_wait_live_ms", "must be greater than 0, not 0"),
    ("sla: {max_wait_live_ms: true}", "sla.max_wait_live_ms", "must be a whole number, not True"),
    ("sla: {max_wait_live_ms: 1.5}", "sla.max_wait_live_ms", "must be a whole number, not 1.5"),
    ("sla: {max_sync_gap_bars: -1}", "sla.max_sync_gap_bars", "must be greater than or equal to 0"),
    ("sla: {on_violation: PARTIAL}", "sla.on_violation", "did you mean PARTIAL_FILL?"),
    ("sla: {total_deadline_ms: -5}", "sla.total_deadline_ms", "must be greater than 0, not -5"),
    ("sla: {total_deadline_ms: 299}", "sla.total_deadline_ms", "ends before storage may answer"),
    ("sla_presets: {mine: {total_deadline: 5}}", "sla_presets.mine.total_deadline", "did you mean"),
    ("sla_presets: {mine: {max_lag: 0}}", "sla_presets.mine.max_lag", "must be greater than 0"),
    ("sla_presets: {mine: {total_deadline_ms: 299}}", "sla_presets.mine", "ends before storage may answer"),
    ("sla_presets: {baseline: {max_lag: 9}}", "sla_presets.baseline", "is there already"),
    ("backfill: {mode: eager}", "backfill.mode", "must be background or sync"),
    ("backfill: {jitter_ratio: 1.1}", "backfill.jitter_ratio", "less than or equal to 1"),
    ("backfill: {window_bars: many}", "backfill.window_bars", "must be a whole number, not 'many'"),
    ("rate_limit: {tokens_per_interval: 10}", "rate_limit.burst_tokens", "is required"),
    ("rate_limit: {interval_ms: 10}", "rate_limit.burst_tokens", "is required"),
    ("rate_limit: {burst_tokens: 0}", "rate_limit.burst_tokens", "must be greater than 0"),
    ("rate_limit: {local_semaphore: 0}", "rate_limit.local_semaphore", "must be greater than 0"),
    ("rate_limit: {min_interval_ms: .nan}", "rate_limit.min_interval_ms", "not nan"),
    ("rate_limit: {redis_dsn: 'http://r'}", "rate_limit.redis_dsn", "use redis:// or rediss://"),
    ("rate_limit: {redis_dsn: 'redis://'}", "rate_limit.redis_dsn", "does not name a host"),
    ("rate_limit: {redis_dsn: 'redis://r:x'}", "rate_limit.redis_dsn", "does not name a host"),
    ("rate_limit: {key_template: '{account?}'}", "rate_limit.key_template", "must hold {exchange} too"),
    ("rate_limit: {key_template: '{exchange}:{user}'}", "rate_limit.key_template", "{user} is not known"),
    ("rate_limit: {key_template: '{exchange!r}'}", "rate_limit.key_template", "take no format"),
    ("rate_limit: {key_template: '{exchange}:{account}'}", "rate_limit.key_template", "write {account?}"),
    ("hot_store: {dsn: 'mysql://x'}", "hot_store.dsn", "use questdb://, or sqlite:///"),
    ("hot_store: {dsn: hot.sqlite}", "hot_store.dsn", "has no scheme"),
    ("hot_store: {dsn: 'sqlite://hot.sqlite'}", "hot_store.dsn", "must name a file"),
    ("hot_store: {dsn: 'sqlite:///:memory:'}", "hot_store.dsn", "must name a file"),
    ("hot_store: {pg_port: 8812}", "hot_store.pg_port", "is for questdb:// only"),
    ("hot_store: {dsn: 'questdb://h', tls_verify: false}", "hot_store.tls_verify", "without tls: true"),
    ("hot_store: {dsn: 'questdb://h', tls: true, tls_ca: ca}", "hot_store.tls_ca", "is not a file of PEM"),
    ("hot_store: {dsn: 'questdb://u:p@h', token: t}", "hot_store.token", "contradicts the user in dsn"),
    ("observability: {coverage_ratio_threshold: 98}", "observability.coverage_ratio_threshold", "equal to 1"),
    ("observability: [0.98]", "observability", "must be a mapping of keys to values, not a list"),
    ("partitions: {1m: hour}", "partitions.1m", "must be day or month or year"),
    ("partitions: {1x: day}", "partitions.1x", "'1x' is not a timeframe"),
    ("partitions: {1w: day}", "partitions.1w", "a bar of 1w is longer than a day"),
    ("state_dir: ''", "state_dir", "must be a folder"),
    ("state_dir: '~nobody-here/state'", "state_dir", "a user that is not known here"),
    ("state_dir: /etc/passwd/state", "state_dir", "/etc/passwd is a file"),
    ("state_dir: ./seamless.yaml", "state_dir", "seamless.yaml is a file"),
    (f"state_dir: {'x' * 256}", "state_dir", "is too long for a path"),
    ('state_dir: "a\\0b"', "state_dir", "holds a NUL character"),
    (f"rate_limit: {{burst_tokens: {'9' * 400}}}", "rate_limit.burst_tokens", "must be a number, not a text"),
    ("rate_limit: {burst_tokens: 1000000001}", "rate_limit.burst_tokens", "less than or equal to 1000000000"),
    ("rate_limit: {interval_ms: 1e3, burst_tokens: 1}", "rate_limit.interval_ms", "must be a whole number"),
    ("backfill: {max_attempts: 101}", "backfill.max_attempts", "less than or equal to 100"),
    ("backfill: {retry_backoff_ms: 604800001}", "backfill.retry_backoff_ms", "less than or equal to"),
    ("sla: {total_deadline_ms: 86400001}", "sla.total_deadline_ms", "less than or equal to 86400000"),
    ("hot_store: {keep_days: {day: 1e9}}", "hot_store.keep_days.day", "less than or equal to 36500"),
    ("hot_store: {timeout_ms: 5}", "hot_store.timeout_ms", "is for questdb:// only"),
    ("partitions: {2y: year}", "partitions.2y", "is longer than a year"),
    ("backfill: {mode: later}", "backfill.mode", "must be background or sync"),
    ("observability: {storage_wait_warn_ms: 3600000}", "observability.storage_wait_warn_ms", "3600000"),
    ("observability: {backfill_wait_warn_ms: 0}", "observability.backfill_wait_warn_ms", "greater than 0"),
    ("conformance: {version: !!binary djI=}", "conformance.version", "a tag (!name) means nothing here"),
    ("sla: !!set {max_wait_live_ms}", "sla", "a tag (!name) means nothing here"),
    ("sla: {<<: 5}", "sla", "<< takes a mapping"),
]


@pytest.mark.parametrize(("line", "key", "message"), IN_SEAMLESS)
def test_a_wrong_line_of_the_section_seamless(problems: Finder, line: str, key: str, message: str) -> None:
    number, found, said = only(problems(f"{SEAMLESS}  {line}\n"))
    assert (number, found) == (4, f"seamless.{key}")
    assert message in said


IN_ARTIFACT = [
    ("object_store_uri: ftp://x", "object_store_uri", "unknown scheme ftp://"),
    ("object_store_uri: file://x", "object_store_uri", "takes an absolute path"),
    ("object_store_uri: s3://", "object_store_uri", "does not name a bucket"),
    ("object_store_uri: 5", "object_store_uri", "must be a folder or s3://"),
    ("format: csv", "format", "must be parquet"),
    ("compression: zip", "compression", "must be zstd or snappy"),
    ("stabilization_bars: -1", "stabilization_bars", "greater than or equal to 0"),
    ("partition_template: '{exchange}/{symbol}'", "partition_template", "must hold {timeframe} too"),
    ("partition_template: '{exchange}-{symbol}/{timeframe}'", "partition_template", "at most one"),
    ("partition_template: '/{exchange}/{symbol}/{timeframe}'", "partition_template", "no / at the ends"),
    ("partition_template: '../{exchange}/{symbol}/{timeframe}'", "partition_template", "must be folders"),
    ("partition_template: '{exchange'", "partition_template", "is not a template"),
    ("publish_fingerprint: false", "publish_fingerprint", "backtest.source is artifact_only"),
]


@pytest.mark.parametrize(("line", "key", "message"), IN_ARTIFACT)
def test_a_wrong_line_of_the_section_artifact(problems: Finder, line: str, key: str, message: str) -> None:
    store = "" if key == "object_store_uri" else "    object_store_uri: ./store\n"
    text = f"exchanges: {{binance: {{symbols: [BTC/USDT]}}}}\nseamless:\n  artifact:\n    {line}\n{store}"
    number, found, said = only(problems(text))
    assert (number, found) == (4, f"seamless.artifact.{key}")
    assert message in said


IN_EXCHANGE = [
    ("base_url: 127.0.0.1:8080", "base_url", "has no scheme; start it with http:// or https://"),
    ("base_url: ws://host", "base_url", "unknown scheme ws://"),
    ("proxy: host:3128", "proxy", "has no scheme"),
    ("sandbox: 'perhaps'", "sandbox", "must be true or false"),
    ("rate_limit_rps: 0", "rate_limit_rps", "must be greater than 0"),
    ("start: soon", "start", "is not ISO 8601"),
    ("start: 2025-02-31", "start", "is not ISO 8601"),
    ("start: 2025-01-01 12:00:00", "start", "has no time zone"),
    ("start: 2099-01-01", "start", "lies in the future"),
    ("start: 2025", "start", "write a date like 2025-01-01"),
    ("start: [2025]", "start", "give epoch seconds"),
    ("timeframes: []", "timeframes", "names no timeframe"),
    ("timeframes: 1m", "timeframes", "must be a list"),
    ("timeframes: [1m, 7x]", "timeframes[1]", "'7x' is not a timeframe"),
    ("timeframes: [1h, 1m, 1h]", "timeframes[2]", "1h makes the same node as"),
    ("account: ''", "account", "at least 1 character"),
    ("api_key: ${UNSET}", "api_key", "UNSET is not set; set it or write ${UNSET:-default}"),
    ("api_key: ${UNSET", "api_key", "write $${ for a literal"),
    ('account: "a\\e[31m"', "account", "holds a line break or a control character"),
    ('api_key: "abc\\n"', "api_key", "is there one at its end?"),
    ("rate_limit_rps: 0.00001", "rate_limit_rps", "is fewer than one request in 10000 s"),
    ("rate_limit_rps: .inf", "rate_limit_rps", "must be a finite number"),
    ("timeframes: [2y]", "timeframes[0]", "is longer than a year"),
    ("live: always", "live", "websocket"),
    ("fees: 1", "fees", "unknown key; the known ones are account,"),
]


@pytest.mark.parametrize(("line", "key", "message"), IN_EXCHANGE)
def test_a_wrong_line_of_an_exchange(problems: Finder, line: str, key: str, message: str) -> None:
    number, found, said = only(problems(f"{BASE}    {line}\n"))
    assert (number, found) == (6, f"exchanges.binance.{key}")
    assert message in said


@pytest.mark.parametrize(
    ("symbols", "key", "message"),
    [
        ("[]", "", "names no symbol"),
        ("BTC/USDT", "", "must be a list"),
        ("[BTC/USDT, BTCUSDT]", "[1]", "'BTCUSDT' is not a symbol; write it like BTC/USDT"),
        ("[btc/usdt]", "[0]", "did you mean BTC/USDT?"),
        ("['BTC /USDT']", "[0]", "is not a symbol"),
        ("[5]", "[0]", "must be a text, not 5"),
        ("[BTC/USDT, ETH/USDT, BTC/USDT]", "[2]", "same node as exchanges.binance.symbols[0] on line 5"),
    ],
)
def test_wrong_symbols(problems: Finder, symbols: str, key: str, message: str) -> None:
    number, found, said = only(problems(BASE.replace("[BTC/USDT]", symbols)))
    assert (number, found) == (5, f"exchanges.binance.symbols{key}")
    assert message in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("binanse", "did you mean binance"),
        ("Kraken", "did you mean kraken"),
        ("qqqqqqqq", "ccxt knows "),
    ],
)
def test_an_unknown_exchange(problems: Finder, name: str, message: str) -> None:
    number, key, said = only(problems(BASE.replace("binance", name)))
    assert (number, key) == (4, f"exchanges.{name}")
    assert message in said


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("cache: {ttl_ms: 0}", 6, "cache.ttl_ms", "greater than 0"),
        ("cache: {key_template: '{node_id}'}", 6, "cache.key_template", "must hold {as_of}, {conf_ver}"),
        ("cache: 5", 6, "cache", "must be a mapping"),
        ("cash:\n  ttl_ms: 1", 6, "cash", "did you mean cache?"),
        ("domains:\n  live: {max_lag_sec: 0}", 7, "domains.live.max_lag_sec", "greater than 0"),
        ("domains:\n  live: {min_coverage: 2}", 7, "domains.live.min_coverage", "equal to 1"),
        ("domains:\n  paper: {}", 7, "domains.paper", "the known ones are backtest, dryrun, live"),
        ("domains:\n  dryrun: {source: any}", 7, "domains.dryrun.source", "artifact_prefers"),
        ("domains:\n  backtest: {source: artifact_prefers}", 7, "domains.backtest.source", "artifact_only"),
        ("domains:\n  backtest: {require_as_of: no}", 7, "domains.backtest.require_as_of", "stay true"),
        ("environment:\n  coordinator_url: leases:1", 7, "environment.coordinator_url", "has no scheme"),
        ("environment:\n  coordinator_url: ${1}", 7, "environment.coordinator_url", "write $${"),
        ("environment:\n  rate_limiter_redis: http://r", 7, "environment.rate_limiter_redis", "redis://"),
        ("  okx:", 6, "exchanges.okx.symbols", "names no symbol"),
        ("  okx: [a]", 6, "exchanges.okx", "must be a mapping"),
        ("    symbols: [ETH/USDT]", 6, "exchanges.binance.symbols", "is written twice; first on line 5"),
        ("    options: &o {a: *o}", 6, "exchanges.binance.options.a", "this alias holds itself"),
        ("    [a, b]: 1", 6, "exchanges.binance.?", "a key must be a plain text"),
    ],
)
def test_a_wrong_line_elsewhere(problems: Finder, text: str, line: int, key: str, message: str) -> None:
    number, found, said = only(problems(f"{BASE}{text}\n"))
    assert (number, found) == (line, key)
    assert message in said


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("\n- a\n", 2, "must hold sections"),
        (f"{BASE}\tcache: {{}}\n", 6, "is not valid YAML"),
        (f"{BASE}cache: {{ttl_ms: 5\n", 7, "is not valid YAML"),
        (f"{BASE}cache: {{ttl_ms: ${{TTL}}}}\n", 6, "put quotes around ${...}"),
        (f"{BASE}cache: !!python/object:os.system {{}}\n---\n", 7, "is not valid YAML"),
        (f"{BASE}cache: \x01\n", 6, "forbids"),
    ],
)
def test_unreadable_yaml(problems: Finder, text: str, line: int, message: str) -> None:
    number, key, said = only(problems(text))
    assert (number, key) == (line, "")
    assert message in said


def test_no_exchange_and_no_store(problems: Finder) -> None:
    found = problems("cache: {}\n")
    assert [(line, key) for line, key, _ in found] == [
        (1, "exchanges"),
        (1, "seamless.artifact.object_store_uri"),
    ]


def test_every_problem_is_reported_at_once(problems: Finder) -> None:
    found = problems("""\
seamless:
  strategy: ALWAYS
  sla: {total_deadline_ms: 100, max_wait_live_ms: -1}
  rate_limit:
    tokens_per_interval: 10
    local_semaphore: 0
  artifact: {object_store_uri: "s3://${UNSET}", compression: zip}
exchanges:
  binanse:
    symbols: [BTC/USDT, 7, BTC/USDT]
    timeframes: [7x, 1m]
    start: 2099-01-01
  kraken:
    symbols: [BTC/USD]
    symbols: [BTCUSD]
""")
    assert [(line, key) for line, key, _ in found] == [
        (2, "seamless.strategy"),
        (3, "seamless.sla.max_wait_live_ms"),
        (3, "seamless.sla.total_deadline_ms"),
        (4, "seamless.rate_limit.burst_tokens"),
        (6, "seamless.rate_limit.local_semaphore"),
        (7, "seamless.artifact.object_store_uri"),
        (7, "seamless.artifact.compression"),
        (9, "exchanges.binanse"),
        (10, "exchanges.binanse.symbols[1]"),
        (10, "exchanges.binanse.symbols[2]"),
        (11, "exchanges.binanse.timeframes[0]"),
        (12, "exchanges.binanse.start"),
        (15, "exchanges.kraken.symbols"),
        (15, "exchanges.kraken.symbols[0]"),
    ]


def test_the_error_lists_its_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seamless.yaml").write_text(f"{BASE}    sandbox: 2\ncach: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value) == (
        "seamless.yaml has 2 problems:\n"
        "  seamless.yaml:6: exchanges.binance.sandbox: must be true or false, not 2\n"
        "  seamless.yaml:7: cach: unknown key; did you mean cache?"
    )
    assert caught.value.problems[1] == Problem("seamless.yaml", 7, "cach", "unknown key; did you mean cache?")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"seamless.yaml: no such file") as caught:
        load_settings()
    assert SMALLEST_YAML in str(caught.value)
    assert caught.value.problems[0].line is None


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"seamless: \xff\xfe")
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 10\)"):
        load_settings(tmp_path / "binary.yaml")


def test_an_account_that_no_budget_tells_apart_is_refused(problems: Finder) -> None:
    limit = "  rate_limit: {key_template: 'ccxt:{exchange}'}\n"
    number, key, said = only(
        problems(BASE.replace("exchanges:", f"{limit}exchanges:") + "    account: desk\n")
    )
    assert (number, key) == (7, "exchanges.binance.account")
    assert "is used by rate_limit.key_template alone, which has no {account?}" in said


def test_what_yaml_trips_over_is_reported_without_its_text(problems: Finder) -> None:
    for line in ("password: *hunter2", "password: !hunter2 x", "password: !hunter2"):
        number, _, said = only(problems(f"{BASE}    {line}\n"))
        assert number == 6 and "put quotes around" in said and "hunter2" not in said


def test_a_wrong_variable_is_named() -> None:
    mapping = {
        "seamless": {"artifact": {"object_store_uri": "s"}},
        "exchanges": {"okx": {"symbols": ["A/B"]}},
    }
    with pytest.raises(ConfigError, match=r"from the environment variable QMTL_CCXT_RATE_LIMITER_REDIS"):
        settings_from_mapping(mapping, environ={"QMTL_CCXT_RATE_LIMITER_REDIS": "tcp://r"})


def test_problems_of_a_mapping_have_no_line() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from_mapping({"exchanges": []}, environ={"QMTL_SEAMLESS_ARTIFACTS": "1"})
    (found,) = caught.value.problems
    assert str(found) == "settings: exchanges: must be a mapping of keys to values, not a list"


def test_problems_show_no_secret(problems: Finder) -> None:
    found = problems(f"""{BASE}    api_key: [hunter2]
    proxy: hunter2
    options: hunter2
environment: {{rate_limiter_redis: "http://:hunter2@r"}}
""")
    assert [line for line, _, _ in found] == [6, 7, 8, 9]
    assert not any("hunter2" in message for _, _, message in found)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('environment: {world_webhook_secret:"hunter2"}', "environment.world_webhook_secret"),
        ("environment: {rate_limiter_redis:redis://:hunter2@r}", "environment.rate_limiter_redis"),
        ("environment: {proxi:hunter2}", "environment.proxi"),
        ('environment: world_webhook_secret:"hunter2"', "environment"),
        ("environment: rate_limiter_redis:redis://:hunter2@r", "environment"),
    ],
)
def test_a_key_without_a_space_behind_its_colon_shows_no_secret(
    problems: Finder, text: str, where: str
) -> None:
    found = problems(f"{BASE}{text}\n")
    assert [key for _, key, _ in found] == [where]
    assert not any("hunter2" in f"{key} {message}" for _, key, message in found)


def test_forming_bars_that_no_stream_would_make_are_refused(problems: Finder) -> None:
    number, key, said = only(problems(BASE + "service: {forming_bars: true}\n"))
    assert key == "service.forming_bars" and number > 0 and "no exchange is streamed" in said


def test_bars_of_a_polled_exchange_are_not_told_before_they_are_stored(problems: Finder) -> None:
    number, key, said = only(problems(BASE.replace("    symbols", "    live_delivery: proven\n    symbols")))
    assert key.endswith(".live_delivery") and number > 0 and "this exchange is polled" in said
