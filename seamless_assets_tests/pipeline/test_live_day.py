"""Hours of live trading on time that goes faster: over both feeds, through an outage and a halt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "live_day.py"


@pytest.mark.deep
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("hours", [3, 8])
def test_a_day_is_lived_without_a_problem(tmp_path: Path, hours: int) -> None:
    command = [sys.executable, str(BENCH), "--hours", str(hours), "--speed", "40", "--out", str(tmp_path)]
    lived = subprocess.run(command, capture_output=True, text=True, check=False)
    assert lived.returncode == 0, lived.stdout + lived.stderr[-4_000:]
    assert "no problem" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "events.jsonl").stat().st_size > 10_000
