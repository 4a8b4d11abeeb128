"""A module as a program that ends with the process that started it: `tether.py -m MODULE ARGUMENTS`.

Standard input is a pipe whose other end only that process holds: where it is killed and can end nothing
itself, the pipe ends, and with it the program and all that it has started in its process group.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 10.0
"""How long the group may take to end by itself."""


def main(arguments: list[str]) -> None:
    """Run a module as if it had been started alone."""
    threading.Thread(target=_watch, daemon=True).start()
    _, module, *_ = arguments
    sys.argv = arguments[1:]
    # As `python -m` has it: not the folder of this file.
    sys.path[0] = os.getcwd()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1_024):
        pass
    # This thread is not waited for where the program has ended by then; the one that ends the rest is.
    threading.Thread(target=_end_group).start()


def _end_group() -> None:
    os.killpg(0, signal.SIGINT)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
