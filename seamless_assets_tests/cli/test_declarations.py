"""The commands by which an operator declares bars absent, takes that back, and reads what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from seamless_assets.cli.app import cli
from seamless_assets.errors import InvalidChoice, InvalidInput
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1h"
WINDOW = ("2025-01-02", "2025-01-03")
YAML = """\
seamless:
  artifact: {{object_store_uri: ./artifacts}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
exchanges:
  binance: {{base_url: "{url}", symbols: ["BTC/USDT"], timeframes: ["1h"]}}
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a command on a project of its own, and gives what it said."""
    config = tmp_path / "seamless.yaml"

    def run_one(*words: str) -> str:
        result = CliRunner().invoke(
            cli, [words[0], "--config", str(config), *words[1:]], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return result.output

    with Sandbox(now=START + 10 * DAY).running() as exchange:
        config.write_text(YAML.format(url=exchange.url))
        yield run_one


def test_what_is_declared_is_shown_apart_until_it_is_revoked(run: Run) -> None:
    assert "24 missing; coverage 0.0000" in run("coverage", NODE, *WINDOW)
    output = run(
        "declare", NODE, *WINDOW, "--reason", "halted", "--note", "mail of\x1b[2J Jan 3", "--by", "ann@desk"
    )
    assert "halted" in output and "ann@desk" in output and "in force" in output and "\x1b" not in output
    output = run("coverage", NODE, *WINDOW)
    assert "0 of 24 bars present, 0 proven absent, 24 declared absent, 0 missing; coverage 1.0000" in output
    assert "held: 0.0000 of the bars that may have existed" in output
    assert "? out of retention or declared" in output and output.count("?") > 60
    assert "halted by ann@desk: mail of" in output and "\x1b" not in output
    run("revoke", NODE, "2025-01-02T06:00:00Z", "2025-01-03", "--note", "they came")
    output = run("declarations", NODE, *WINDOW)
    assert "in force, revoked in part" in output and "1 declarations" in output
    assert "6 declared absent, 18 missing" in run("coverage", NODE, *WINDOW)


def test_a_declaration_that_bars_contradict_says_so(run: Run) -> None:
    run("backfill", NODE, *WINDOW)
    assert "wrong: 24 bars are there, and count" in run("declare", NODE, *WINDOW, "--reason", "outage")
    assert "24 of 24 bars present" in run("coverage", NODE, *WINDOW)
    assert "wrong: 24 bars are there, and count" in run("declarations", NODE, *WINDOW)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("declare", NODE, *WINDOW, "--reason", "hlted"), InvalidChoice),
        (("declare", NODE, *WINDOW, "--reason", "other"), InvalidInput),
        (("declare", NODE, *WINDOW, "--reason", "halted", "--by", "a b"), InvalidInput),
        (("declare", NODE, *WINDOW[::-1], "--reason", "halted"), InvalidInput),
        (("declare", NODE, "2025-02-02", "2025-02-03", "--reason", "halted"), InvalidInput),
        (("declare", "ohlcv:okx:BTC/USDT:1h", *WINDOW, "--reason", "halted"), InvalidChoice),
        (("revoke", NODE, *WINDOW), InvalidInput),
    ],
)
def test_what_means_nothing_is_refused(run: Run, words: tuple[str, ...], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run(*words)
    assert "24 missing" in run("coverage", NODE, *WINDOW)
