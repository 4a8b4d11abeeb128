"""The main job as a newcomer runs it: twice the same, and the same after a SIGKILL in the middle."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from support.services import free_port

COMMAND = (Path(sys.executable).with_name("seamless"), "demo", "--days", "2")


def clone(folder: Path) -> Path:
    folder.mkdir()
    for name in ("dagster.yaml", "workspace.yaml", "seamless.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SEAMLESS_EXCHANGE": f"http://127.0.0.1:{free_port()}",
    }


def fingerprints(folder: Path) -> list[str]:
    result = subprocess.run(
        COMMAND, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"sha256:[0-9a-f]{64}", result.stdout)


@pytest.mark.long
def test_the_demo_ends_the_same_twice_and_after_a_kill(tmp_path: Path) -> None:
    unharmed = clone(tmp_path / "unharmed")
    expected = fingerprints(unharmed)
    assert len(set(expected)) == 5
    assert fingerprints(unharmed) == expected
    killed = clone(tmp_path / "killed")
    with subprocess.Popen(
        COMMAND, cwd=killed, env=environment(killed), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "2025-01-01: released" in line:
                demo.send_signal(signal.SIGKILL)
                break
        else:
            raise AssertionError("the demo never released a day")
    assert fingerprints(killed) == expected
