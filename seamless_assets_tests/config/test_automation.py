"""The section `automation`: what it takes, and what it refuses with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.config.automation import AutomationSettings, cron
from seamless_assets.config.load import SMALLEST_YAML, load_settings
from seamless_assets.errors import ConfigError

words = st.from_regex(
    r"(\*|[0-9]{1,2}(-[0-9]{1,2})?|mon|sun|feb)(/[0-9]{1,2})?(,[0-9]{1,2})?", fullmatch=True
)


@given(st.lists(words, min_size=4, max_size=6).map(" ".join) | st.text(max_size=20))
def test_dagster_takes_every_cron_that_is_taken(line: str) -> None:
    try:
        taken = cron(line)
    except ValueError:
        return
    assert is_valid_cron_schedule(taken)


@pytest.mark.parametrize(
    "line", ["* * * * *", "*/15 1-5 1,15 * mon", " 0  0 29 2 * ", "59 23 31 dec 7", "0 0 * JAN-MAR *"]
)
def test_usual_crons_are_taken(line: str) -> None:
    assert cron(line) == " ".join(line.split())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("rolling_backfill: {cron: '60 * * * *'}", "'60' is no minute of a cron line; give 0 to 59"),
        ("rolling_backfill: {cron: '* * * *'}", "is not a cron line"),
        ("finishing: {cron: '@hourly'}", "is not a cron line"),
        ("reverification: {cron: '0 0 30 2 *'}", "names a day that none of its months has"),
        ("housekeeping: {cron: '*/0 * * * *'}", "is no minute of a cron line"),
        ("housekeeping: {cron: '5-1 * * * *'}", "is no minute of a cron line"),
        ("timezone: Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("timezone: ../etc", "is no time zone"),
        ("freshness: {interval_s: 1}", "30"),
        ("freshness: {max_lag_s: 0}", "60"),
        ("freshness: {partitions: 0}", "0"),
        ("rolling_backfill: {enabled: perhaps}", "true"),
        ("freshnes: {enabled: true}", "freshness"),
    ],
)
def test_what_means_nothing_is_refused_with_its_line(line: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "seamless.yaml"
    path.write_text(f"{SMALLEST_YAML}\nautomation:\n  {line}\n")
    number = len(path.read_text().splitlines())
    with pytest.raises(ConfigError) as refused:
        load_settings(path)
    assert f"{path}:{number}: automation." in str(refused.value) and why in str(refused.value)


def test_one_switch_is_for_all_that_say_nothing() -> None:
    automation = AutomationSettings.model_validate({"enabled": True, "freshness": {"enabled": False}})
    assert automation.is_on(automation.finishing) and not automation.is_on(automation.freshness)
    assert not AutomationSettings().is_on(AutomationSettings().finishing)
