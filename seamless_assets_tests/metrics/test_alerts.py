"""Alerts and dashboards of the catalogue: each alert fires by its cause and is silent without it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from conftest import ROOT, require_program

from seamless_assets.cli.app import cli
from seamless_assets.config.load import FILE_VARIABLE, settings_from_mapping
from seamless_assets.errors import ConfigError
from seamless_assets.metrics.alerts import alert_rules
from seamless_assets.metrics.catalogue import BY_NAME, CATALOGUE, MS_BUCKETS, Metric, Thresholds
from seamless_assets.metrics.dashboards import BOARDS, dashboard
from seamless_assets.pipeline.wiring.metrics import thresholds_of

RULES = ROOT / "ops" / "prometheus" / "alerts.yaml"
MINUTES, GROWING = 40, 25
"""How long a test lasts, and for how long of that, at its end, a counter grows: longer than alerts wait."""
AT = f"{MINUTES}m"
QUIET, STEADY, BURST = f"0+0x{MINUTES}", f"0+1x{MINUTES}", f"0+0x{MINUTES - GROWING} 1000+1000x{GROWING}"
Series = dict[str, str]
"""Values by the labels of a series of the metric, or by another series, in promtool's words, one a minute."""


def slow(label: str, budget: str, longer: str) -> tuple[dict[str, str], Series, Series]:
    """Buckets whose waits are all beyond the budget, and all within it."""

    def buckets(within: str) -> Series:
        return {
            f'_bucket{{{label}="x",le="{budget}"}}': within,
            f'_bucket{{{label}="x",le="{longer}"}}': STEADY,
            f'_bucket{{{label}="x",le="+Inf"}}': STEADY,
        }

    return {label: "x"}, buckets(QUIET), buckets(STEADY)


def level(labels: dict[str, str], bad: str, good: str) -> tuple[dict[str, str], Series, Series]:
    """A gauge that stands at a bad value, and at a good one."""
    labelled = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return labels, {f"{{{labelled}}}": f"{bad}x{MINUTES}"}, {f"{{{labelled}}}": f"{good}x{MINUTES}"}


def counted(kept: str, **others: str) -> tuple[dict[str, str], Series, Series]:
    """A counter that grows at the end, and one that never does."""
    labelled = ",".join(f'{name}="{value}"' for name, value in {kept: "x", **others}.items())
    return {kept: "x"}, {f"{{{labelled}}}": BURST}, {f"{{{labelled}}}": QUIET}


def flagged(flag: str) -> str:
    """The labels of a conformance flag."""
    return f'{{node_id="x",interval="60",world_id="",flag_type="{flag}"}}'


NODE = {"node_id": "x", "world_id": "w"}
CASES: dict[str, tuple[dict[str, str], Series, Series]] = {
    "SeamlessStorageSlow": slow("domain", "300", "3000"),
    "SeamlessBackfillSlow": slow("domain", "5000", "60000"),
    "SeamlessLiveSlow": slow("domain", "800", "5000"),
    "SeamlessPublishSlow": slow("exchange", "120000", "600000"),
    "SeamlessDeadlineExceeded": counted("domain", phase="total"),
    "SeamlessCoverageLow": level(NODE, "0.5+0", "0.99+0"),
    "SeamlessSessionsHeld": counted("world_id", domain="live"),
    "SeamlessWebhookAway": ({}, {'{outcome="failed"}': BURST}, {'{outcome="failed"}': QUIET}),
    "SeamlessWebhookBacklog": level({}, "9000+0", "20+0"),
    "SeamlessLiveStale": level(NODE, "500+0", "5+0"),
    "SeamlessBackfillsFail": (
        {"exchange": "x"},
        {'{exchange="x",outcome="complete"}': STEADY, '{exchange="x",outcome="fail"}': STEADY},
        {'{exchange="x",outcome="complete"}': STEADY, '{exchange="x",outcome="fail"}': QUIET},
    ),
    "SeamlessConformanceSpike": (
        {"node_id": "x"},
        {flagged("duplicate_ts"): BURST},
        {flagged("duplicate_ts"): QUIET, flagged("ts_cast"): BURST, flagged("from_trades"): BURST},
    ),
    "SeamlessFingerprintCollision": counted("exchange"),
    "SeamlessRequestsDropped": counted("key"),
    "SeamlessRateBudgetShort": (
        {"key": "x"},
        {'{key="x"}': f"1+0x{MINUTES}", 'seamless_rl_tokens_capacity{key="x"}': f"20+0x{MINUTES}"},
        {'{key="x"}': f"15+0x{MINUTES}", 'seamless_rl_tokens_capacity{key="x"}': f"20+0x{MINUTES}"},
    ),
    "SeamlessSharedServiceLost": level({"service": "x"}, "0+0", "1+0"),
    "SeamlessStateDamaged": counted("file"),
}
ALERTING = [metric for metric in CATALOGUE if metric.alert]


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert set(CASES) == {metric.alert.name for metric in ALERTING if metric.alert}


def rule_test(metric: Metric, series: Series, fired: list[dict[str, Any]]) -> dict[str, Any]:
    """One test of promtool: what an alert is when time has come."""
    assert metric.alert is not None
    return {
        "interval": "1m",
        "input_series": [
            {"series": name if name[0] not in "{_" else f"{metric.name}{name}", "values": values}
            for name, values in series.items()
        ],
        "alert_rule_test": [{"eval_time": AT, "alertname": metric.alert.name, "exp_alerts": fired}],
    }


def test_every_alert_fires_by_its_cause_and_is_silent_without_it(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it evaluates the alert rules as Prometheus does")
    tests = []
    for metric in ALERTING:
        assert metric.alert is not None
        alert = metric.alert.drawn(metric.name)
        labels, firing, silent = CASES[alert.name]
        fired = {
            "exp_labels": {**labels, "severity": metric.alert.severity},
            "exp_annotations": {"summary": alert.summary, "action": alert.action},
        }
        tests += [rule_test(metric, firing, [fired]), rule_test(metric, silent, [])]
    file = tmp_path / "alerts_test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    result = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


UP = 'up{instance="i",job="j"}'
TARGET = 'instance="i",job="j"'
JUST_NOW = MINUTES - 2
FIRST: dict[str, dict[str, str]] = {
    "SeamlessDeadlineExceeded": {"domain": "live", "phase": "total"},
    "SeamlessSessionsHeld": {"world_id": "w", "domain": "live"},
    "SeamlessConformanceSpike": {"node_id": "n", "interval": "60", "world_id": "", "flag_type": "gap"},
    "SeamlessFingerprintCollision": {"exchange": "okx"},
    "SeamlessRequestsDropped": {"key": "k"},
    "SeamlessStateDamaged": {"file": "hot.sqlite"},
}
"""Alerts of counters that fire at once, and the labels of a series that nobody has counted in before."""


@pytest.mark.parametrize("name", sorted(FIRST))
def test_what_happens_for_the_first_time_is_told_and_what_happened_before_the_first_scrape_is_not(
    tmp_path: Path, name: str
) -> None:
    promtool = require_program("promtool", "it evaluates the alert rules as Prometheus does")
    (metric,) = [metric for metric in ALERTING if metric.alert and metric.alert.name == name]
    assert metric.alert is not None
    labelled = ",".join(f'{key}="{value}"' for key, value in FIRST[name].items())
    series = f"{metric.name}{{{labelled},{TARGET}}}"
    kept = [key for key in FIRST[name] if f"by ({key})" in metric.alert.expr]
    fired = {
        "exp_labels": {key: FIRST[name][key] for key in kept} | {"severity": metric.alert.severity},
        "exp_annotations": {"summary": metric.alert.summary, "action": metric.alert.action},
    }
    now, always = f"_x{JUST_NOW} 1000+0x2", f"1+0x{MINUTES}"
    cases: list[tuple[dict[str, str], list[Any]]] = [
        ({series: now, UP: always}, [fired]),
        # Scrapes that failed were none.
        ({series: now, UP: f"0+0x{JUST_NOW - 1} 1+0x2"}, []),
        ({series: now, UP: f"_x{JUST_NOW} 1+0x2"}, []),
        ({series: f"1000+0x{MINUTES}", UP: always}, []),
    ]
    tests = [rule_test(metric, series, told) for series, told in cases]
    file = tmp_path / "first.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    result = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_exchange_of_which_nothing_was_ever_filled_is_told(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it evaluates the alert rules as Prometheus does")
    metric = BY_NAME["seamless_backfill_windows_total"]
    assert metric.alert is not None
    alert = metric.alert.drawn(metric.name)
    fired = {
        "exp_labels": {"exchange": "okx", "severity": alert.severity},
        "exp_annotations": {"summary": alert.summary, "action": alert.action},
    }
    series = {f'{metric.name}{{exchange="okx",outcome="fail",{TARGET}}}': STEADY, UP: f"1+0x{MINUTES}"}
    file = tmp_path / "never.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "tests": [rule_test(metric, series, [fired])]})
    )
    result = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_alert_is_drawn_for_every_threshold_that_the_blueprint_suggests() -> None:
    suggested = {
        *("seamless_storage_wait_ms", "seamless_backfill_wait_ms", "seamless_live_wait_ms"),
        *("seamless_conformance_flag_total", "coverage_ratio", "seamless_rl_dropped_total"),
        *("artifact_publish_latency_ms", "fingerprint_collisions", "domain_gate_holds"),
        *("live_staleness_seconds", "seamless_rl_tokens_available"),
    }
    assert suggested <= {metric.name for metric in ALERTING}
    assert len(alert_rules()["groups"][0]["rules"]) == len(ALERTING)


@pytest.mark.parametrize("board", BOARDS)
def test_the_dashboards_that_are_checked_in_are_those_of_the_catalogue(board: str) -> None:
    assert json.loads((ROOT / "ops" / "grafana" / f"{board}.json").read_text()) == dashboard(board)


def test_every_metric_stands_on_a_dashboard_and_every_expression_can_be_read(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it reads expressions as Prometheus does")
    assert {name for names in BOARDS.values() for name in names} == set(BY_NAME)
    exprs = [
        target["expr"].replace("$node", "ohlcv:.*")
        for board in BOARDS
        for panel in dashboard(board)["panels"]
        for target in panel["targets"]
    ]
    rules = [{"record": f"r{at}", "expr": expr} for at, expr in enumerate(exprs)]
    file = tmp_path / "exprs.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    result = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def observed(**said: Any) -> dict[str, Any]:
    return {
        "seamless": {"observability": said, "artifact": {"object_store_uri": "store"}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}},
    }


STORAGE_WAIT = "seamless_storage_wait_ms"
THRICE = f"0+3x{MINUTES}"
OWN: dict[str, tuple[dict[str, Any], Series, Series]] = {
    "SeamlessStorageSlow": (
        observed(storage_wait_warn_ms=700),
        slow("domain", "800", "1500")[1],
        slow("domain", "500", "800")[2],
    ),
    "SeamlessBackfillSlow": (
        observed(backfill_wait_warn_ms=20_000),
        slow("domain", "30000", "60000")[1],
        slow("domain", "10000", "30000")[2],
    ),
    "SeamlessCoverageLow": (observed(coverage_ratio_threshold=0.5), *level(NODE, "0.4+0", "0.9+0")[1:]),
    "SeamlessBackfillsFail": (
        observed(backfill_completion_ratio_min=0.4),
        {'{exchange="x",outcome="complete"}': STEADY, '{exchange="x",outcome="fail"}': THRICE},
        {'{exchange="x",outcome="complete"}': STEADY, '{exchange="x",outcome="fail"}': STEADY},
    ),
    "SeamlessLiveStale": (
        {**observed(), "domains": {"live": {"max_lag_sec": 900}}},
        *level(NODE, "1000+0", "800+0")[1:],
    ),
}
"""Settings by the alert that they move: when it fires then, and when it only would without them."""


def test_the_thresholds_of_the_settings_move_the_alerts(tmp_path: Path) -> None:
    promtool = require_program("promtool", "it evaluates the alert rules as Prometheus does")
    for metric in ALERTING:
        assert metric.alert is not None
        if metric.alert.name not in OWN:
            assert metric.alert.drawn(metric.name, Thresholds(1, 2, 0.3, 0.4, 5)) == metric.alert.drawn(
                metric.name
            )
            continue
        declared, firing, silent = OWN[metric.alert.name]
        thresholds = thresholds_of(settings_from_mapping(declared, tmp_path, {}))
        alert = metric.alert.drawn(metric.name, thresholds)
        labels = CASES[alert.name][0]
        fired = {
            "exp_labels": {**labels, "severity": alert.severity},
            "exp_annotations": {"summary": alert.summary, "action": alert.action},
        }
        folder = tmp_path / alert.name
        folder.mkdir()
        (folder / "rules.yaml").write_text(yaml.safe_dump(alert_rules(thresholds)))
        tests = [rule_test(metric, firing, [fired]), rule_test(metric, silent, [])]
        (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
        result = subprocess.run(
            [promtool, "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_command_draws_rules_and_dashboards_by_the_settings_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)

    def printed(*words: str) -> Any:
        result = CliRunner().invoke(cli, ["metrics", *words])
        assert result.exit_code == 0, result.output
        return yaml.safe_load(result.output)

    assert printed("--dashboard", "sla") == dashboard("sla") and printed("--rules") == alert_rules()
    declared = observed(storage_wait_warn_ms=700, coverage_ratio_threshold=0.5)
    (tmp_path / "seamless.yaml").write_text(yaml.safe_dump(declared))
    own = Thresholds(storage_wait_ms=700, coverage=0.5)
    for board in BOARDS:
        assert printed("--dashboard", board) == dashboard(board, own)
    assert printed("--rules") == alert_rules(own)
    (told,) = [panel for panel in dashboard("sla", own)["panels"] if panel["title"] == STORAGE_WAIT]
    assert "takes more than 700 ms" in told["description"]


def test_no_threshold_lies_where_no_wait_is_told_apart() -> None:
    assert max(MS_BUCKETS) == 3_600_000
    settings_from_mapping(observed(storage_wait_warn_ms=3_599_999), "/base", {})
    with pytest.raises(ConfigError, match="3600000"):
        settings_from_mapping(observed(storage_wait_warn_ms=3_600_000), "/base", {})
