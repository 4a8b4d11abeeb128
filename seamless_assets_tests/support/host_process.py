"""Run in a process of its own: what each use of the package changes in the process that it lives in.

    python host_process.py FOLDER

Prints JSON: for each step what it changed. Warning filters of other libraries' own categories do not count.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import locale
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any


def state() -> dict[str, Any]:
    """What a process shares with all that runs in it."""
    policy = type(asyncio.get_event_loop_policy())
    own = [repr(f) for f in warnings.filters if f[2].__name__ in vars(builtins)]
    hooks = (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, warnings.showwarning)
    log = logging.root
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warnings": own,
        "logging": [log.level, repr(log.handlers), log.manager.disable, logging.getLoggerClass().__name__],
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "event loop policy": policy.__name__,
        "hooks": [repr(hook) for hook in hooks],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits()],
    }


def main(folder: str) -> None:
    """Use the package step by step."""
    import pandas as pd
    import polars  # noqa: F401

    changed: dict[str, list[str]] = {}
    known = state()

    def done(step: str) -> None:
        nonlocal known
        now = state()
        changed[step] = [name for name in now if now[name] != known[name]]
        known = now

    import seamless_assets as sa

    done("import")
    times = pd.Series([1_735_689_600, 1_735_689_660])
    sa.conform(pd.DataFrame(dict.fromkeys(("ts", "open", "high", "low", "close", "volume"), times)))
    done("conform")
    from seamless_assets.sandbox.server import Sandbox

    with Sandbox(now=1_736_000_000).running() as exchange:
        done("local exchange")
        file = Path(folder) / "seamless.yaml"
        file.write_text(
            "seamless:\n  artifact: {object_store_uri: ./data}\n  hot_store: {dsn: 'sqlite:///./hot.sqlite'}\n"
            f"exchanges:\n  binance: {{base_url: {exchange.url}, symbols: [BTC/USDT], timeframes: [1h], "
            "start: 2025-01-01}\n"
        )
        node, day = "ohlcv:binance:BTC/USDT:1h", ("2025-01-01", "2025-01-02")
        with sa.connect(str(file)) as s:
            s.backfill(node, *day)
            done("backfill")
            s.materialize(node, *day)
            done("materialize")
            bars = s.read(node, *day)
            bars.to_pandas(), bars.to_polars(), bars.to_arrow()
            done("read")
    done("close")
    from seamless_assets.defs.build import build_definitions

    build_definitions(sa.load_settings(str(file)))
    done("definitions")
    sys.stdout.write(json.dumps(changed))


if __name__ == "__main__":
    main(sys.argv[1])
