"""The code of docs/testing.md runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_what_the_page_shows_in_memory_is_true() -> None:
    blocks = [block for block in BLOCKS if "pytest_plugins" not in block and "def test_" not in block]
    assert len(blocks) == 3
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})


def test_the_fixtures_work_in_a_project_of_its_own(tmp_path: Path) -> None:
    plugin, test = (block for block in BLOCKS if "pytest_plugins" in block or "def test_" in block)
    (tmp_path / "conftest.py").write_text(plugin)
    (tmp_path / "test_strategy.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr
