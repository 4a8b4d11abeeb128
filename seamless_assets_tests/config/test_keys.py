"""Keys that say nothing, keys of the user's own, and keys that nothing acts on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import seamless_assets as sa
from seamless_assets.config.load import SMALLEST_YAML, Settings, load_settings, settings_from_mapping
from seamless_assets.core.reading.sla import PRESETS, SLAPolicy, resolve_sla
from seamless_assets.errors import ConfigError, InvalidChoice
from seamless_assets.pipeline.wiring.policy import read_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNSET", "QMTL_SEAMLESS_COORDINATOR_URL", "QMTL_CCXT_RATE_LIMITER_REDIS"):
        monkeypatch.delenv(name, raising=False)


def load(folder: Path, text: str) -> Settings:
    file = folder / "seamless.yaml"
    file.write_text(text)
    return load_settings(file)


def settings(**sections: Any) -> Settings:
    sound = {
        "seamless": {"artifact": {"object_store_uri": "store"}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
    }
    return settings_from_mapping({**sound, **sections}, "/base", {})


@pytest.mark.parametrize(
    "line",
    [
        "exchanges.binance.proxy",
        "exchanges.binance.base_url",
        "exchanges.binance.account",
        "exchanges.binance.api_key",
        "exchanges.binance.timeout_ms",
        "exchanges.binance.rate_limit_rps",
        "seamless.rate_limit.redis_dsn",
        "seamless.hot_store.dsn",
        "seamless.state_dir",
        "seamless.artifact.s3.region",
        "environment.coordinator_url",
        "cache.max_segment_mb",
    ],
)
@pytest.mark.parametrize("text", ["${NONE:-}", "${EMPTY}", "${EMPTY:-}${NONE:-}"])
def test_a_variable_that_says_nothing_leaves_its_key_unset(line: str, text: str) -> None:
    def of(value: str | None) -> Settings:
        mapping: dict[str, Any] = {
            "seamless": {"artifact": {"object_store_uri": "store"}},
            "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
        }
        *above, last = line.split(".")
        section = mapping
        for part in above:
            section = section.setdefault(part, {})
        section[last] = value
        return settings_from_mapping(mapping, "/base", {"EMPTY": ""})

    assert of(text) == of(None)


def test_keys_of_the_users_own_are_left_alone(tmp_path: Path) -> None:
    text = """\
x-common: &common {timeframes: ["1m"], x-note: ["${UNSET}", !tag x], start: 2025-01-01}
seamless:
  x-owner: {team: data, since: 2020}
  artifact: {object_store_uri: ./data/artifacts, x-bucket: later}
  hot_store: {dsn: "sqlite:///./data/hot.sqlite"}
  partitions: {x-why: small}
  conformance: {severity: {x-gap: unsure}}
exchanges:
  x-template: {symbols: 5, secret: "${UNSET}"}
  binance:
    <<: *common
    x-anything: &loop [*loop]
    x-twice: 1
    x-twice: 2
    symbols: ["BTC/USDT"]
    options: {x-mine: 1}
"""
    assert load(tmp_path, text) == load(tmp_path, SMALLEST_YAML)
    own = {"x-a": {1: object()}, "exchanges": {"binance": {"symbols": ["BTC/USDT"], "x-b": iter([])}}}
    assert settings(**own) == settings()


ONE_VALUE = {
    "seamless.node_id_format",
    "seamless.artifact.format",
    "domains.backtest.source",
    "seamless.artifact.publish_fingerprint",
    "domains.backtest.require_as_of",
    "domains.dryrun.require_as_of",
    "domains.live.monotonic_as_of",
}
"""Keys that take one value and refuse every other in words."""


def leaves(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its default."""
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        inner = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if inner:
            yield from leaves(inner[0], f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def test_every_key_is_read_by_the_code_or_takes_one_value_alone() -> None:
    texts = {path: path.read_text() for path in Path(sa.__file__).parent.rglob("*.py")}
    keys = dict(leaves(Settings))
    assert keys.keys() >= ONE_VALUE and len(keys) > 70
    sections = ("sla", "sla_presets")
    spread = {f"seamless.{one}.{name}" for one in sections for name in SLAPolicy.__dataclass_fields__}
    for key in keys.keys() - ONE_VALUE - spread:
        name = key.rpartition(".")[2]
        assert any(re.search(rf"\.{name}\b", text) for text in texts.values()), key


@pytest.mark.parametrize("key", sorted(ONE_VALUE))
def test_a_key_of_one_value_refuses_any_other(key: str) -> None:
    default = dict(leaves(Settings))[key].default
    other: Any = (not default) if isinstance(default, bool) else "other" if isinstance(default, str) else 0.5
    *above, last = key.split(".")
    declared: dict[str, Any] = {"seamless": {"artifact": {"object_store_uri": "store"}}}
    section = declared
    for part in above:
        section = section.setdefault(part, {})
    section[last] = 7 if isinstance(default, int) and not isinstance(default, bool) else other
    with pytest.raises(ConfigError, match=last):
        settings(**declared)


def test_a_preset_of_the_settings_is_their_policy_but_for_what_it_says() -> None:
    declared = settings(
        seamless={
            "artifact": {"object_store_uri": "store"},
            "sla": {"max_wait_storage_ms": 700, "total_deadline_ms": 900},
            "sla_presets": {
                "patient": {"total_deadline_ms": 30_000, "on_violation": "HOLD", "max_lag": 300},
                "as usual": None,
            },
        }
    )
    known = read_settings(declared)
    patient = resolve_sla("patient", known.sla, known.presets)
    assert (patient.max_wait_storage_ms, patient.total_deadline_ms) == (700, 30_000)
    assert (patient.on_violation, patient.max_lag, patient.min_coverage) == ("HOLD", 300, None)
    assert resolve_sla("as usual", known.sla, known.presets) == known.sla
    assert resolve_sla("baseline", known.sla, known.presets) == PRESETS["baseline"]
    with pytest.raises(InvalidChoice, match="did you mean patient"):
        resolve_sla("patiente", known.sla, known.presets)
