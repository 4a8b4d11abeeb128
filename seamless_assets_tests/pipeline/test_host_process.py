"""The process that the package lives in stays as it was, whatever is imported or called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support import host_process

# Other tests of this process may have set it already, and then nobody sees it set.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYARROW_IGNORE_TIMEZONE"}


def test_no_import_and_no_call_changes_the_process(tmp_path: Path) -> None:
    command = [sys.executable, host_process.__file__, str(tmp_path)]
    done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changed = json.loads(done.stdout)
    assert {"import", "conform", "materialize", "read", "definitions"} <= changed.keys()
    assert {step: what for step, what in changed.items() if what} == {}


def test_a_change_would_be_seen() -> None:
    program = (
        "import os, sys; sys.path.append(sys.argv[1]); from host_process import state; before = state();"
        "os.environ['PYARROW_IGNORE_TIMEZONE'] = '1'; import logging; logging.basicConfig(); after = state();"
        "print([name for name in after if after[name] != before[name]])"
    )
    folder = str(Path(host_process.__file__).parent)
    command = [sys.executable, "-c", program, folder]
    done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['environment', 'logging']"
