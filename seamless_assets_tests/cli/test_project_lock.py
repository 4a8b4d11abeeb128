"""One `up` of a project at a time; what a killed one has left holds up no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seamless_assets.cli.project.lock import await_earlier, project_lock
from seamless_assets.errors import InvalidInput

HOLDER = """
import subprocess, sys
from pathlib import Path
from seamless_assets.cli.project.lock import project_lock
with project_lock(Path(sys.argv[1])) as lock:
    words = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    program = subprocess.Popen(words, stdin=sys.stdin, pass_fds=(lock.descriptor,))
    print("held", flush=True)
    program.wait()
"""


def test_a_lock_is_free_once_the_last_program_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "state" / "up.lock"
    await_earlier(file)
    assert not file.parent.exists()
    words = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as command:
        assert command.stdin is not None and command.stdout is not None
        assert command.stdout.readline() == b"held\n"
        with pytest.raises(InvalidInput, match="runs already on this project"):
            await_earlier(file, 0.0)
        command.kill()
        command.wait()
        # What it started lives on, and so does the lock.
        with pytest.raises(InvalidInput, match="stop it first"), project_lock(file, 0.0):
            pass
        command.stdin.close()
        await_earlier(file)
    with project_lock(file), pytest.raises(InvalidInput), project_lock(file, 0.0):
        pass
    await_earlier(file, 0.0)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    nowhere = Path("/proc/nothing/up.lock")
    with pytest.raises(InvalidInput, match=r"/proc/nothing.*state_dir"), project_lock(nowhere):
        pass
