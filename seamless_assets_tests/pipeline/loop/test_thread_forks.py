"""What a process that is forked has of the loop's thread, which is not there."""

from __future__ import annotations

import subprocess
import sys

FORKS = """
import gc, os
import seamless_assets.pipeline.loop.thread
from seamless_assets.aio.collector import collector_patient, collector_paused

usual = gc.get_threshold()
with collector_paused(), collector_patient(50):
    child = os.fork()
    if not child:
        os._exit(0 if gc.isenabled() and gc.get_threshold() == usual else 1)
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or gc.isenabled())
"""


def test_neither_pause_nor_patience_of_the_loop_is_inherited_by_a_process_that_is_forked_meanwhile() -> None:
    assert subprocess.run([sys.executable, "-c", FORKS], check=False).returncode == 0
