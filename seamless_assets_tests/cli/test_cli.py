"""What people type: `seamless check` says all that is wrong, and the commands exist."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seamless_assets.cli.app import main
from seamless_assets.pipeline.wiring.log import LOGGER

WRONG = """\
seamless:
  artifact: {object_store_uri: ./artifacts}
  hot_stor: {dsn: sqlite:///./hot.sqlite}
exchanges:
  binanse:
    symbols: ["BTC/USDT"]
  kraken:
    symbols: ["BTC/USD", "BTC/USD"]
    timeframes: ["1m", "7x"]
"""


def seamless(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("seamless")
    return subprocess.run([tool, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_wrong_file_says_everything_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "seamless.yaml").write_text(WRONG)
    result = seamless("check", cwd=tmp_path)
    assert result.returncode == 1
    for line, words in ((3, "hot_stor"), (5, "binanse"), (8, "BTC/USD"), (9, "7x")):
        assert any(f"seamless.yaml:{line}:" in row and words in row for row in result.stderr.splitlines()), (
            result.stderr
        )
    assert "Traceback" not in result.stderr


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    result = seamless("check", cwd=tmp_path)
    assert result.returncode == 1 and "seamless.yaml" in result.stderr and "Traceback" not in result.stderr


def test_nothing_typed_is_answered_by_the_help_once(tmp_path: Path) -> None:
    result = seamless(cwd=tmp_path)
    told = subprocess.run(
        [sys.executable, "-m", "seamless_assets"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    for answer in (result, told):
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.count("Usage: ") == 1 and " COMMAND [ARGS]..." in answer.stderr
        assert "Error" not in answer.stderr
        assert "  materialize " in answer.stderr


def test_the_commands_explain_themselves(tmp_path: Path) -> None:
    result = seamless("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert {"check", "demo", "sandbox", "ui"} <= {
        line.split()[0] for line in result.stdout.splitlines() if line.strip()
    }
    assert "--replay" in seamless("sandbox", "--help", cwd=tmp_path).stdout


def test_a_program_that_calls_the_console_script_has_its_log_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else every later warning of the package is printed once more for each call."""
    monkeypatch.setattr(sys, "argv", ["seamless", "--version"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    before = [*logging.getLogger(LOGGER).handlers]
    with pytest.raises(SystemExit):
        main()
    assert logging.getLogger(LOGGER).handlers == before
