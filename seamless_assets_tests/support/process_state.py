"""What is one for a whole process, and whether this package leaves it as it was.

`python process_state.py URL FOLDER` uses the package in every way on the local exchange at URL and prints, as
JSON, what each step changed.
"""

from __future__ import annotations

import asyncio
import decimal
import faulthandler
import gc
import importlib
import json
import locale
import logging
import multiprocessing
import os
import pkgutil
import random
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NODE = "ohlcv:binance:ADA/BTC:1h"


def state() -> dict[str, Any]:
    """All that a library has no business with."""
    root = logging.getLogger()
    umask = os.umask(0)
    os.umask(umask)
    return {
        "environment": dict(os.environ),
        "warnings": [repr(entry) for entry in warnings.filters if not of_a_library(entry)],
        "how warnings are shown": repr(warnings.showwarning),
        "root logger": (root.level, list(map(repr, root.handlers)), root.disabled, root.manager.disable),
        "loggers": dict(configured_loggers()),
        "logger class": repr(logging.getLoggerClass()),
        "locale": locale.setlocale(locale.LC_ALL),
        "event loop policy": type(asyncio.get_event_loop_policy()).__name__,
        "signal handlers": {int(n): repr(signal.getsignal(n)) for n in signal.valid_signals()},
        "hooks": list(map(repr, (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook))),
        "tracing": list(map(repr, (sys.gettrace(), sys.getprofile(), sys.get_asyncgen_hooks()))),
        "garbage collection": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        "limits": (
            sys.getrecursionlimit(),
            sys.getswitchinterval(),
            resource.getrlimit(resource.RLIMIT_NOFILE),
        ),
        "threads": (threading.stack_size(), multiprocessing.get_start_method(allow_none=True)),
        "socket timeout": socket.getdefaulttimeout(),
        "files": (umask, os.getcwd(), faulthandler.is_enabled(), repr(sys.stdout), repr(sys.stderr)),
        "numbers": (repr(decimal.getcontext()), hash(random.getstate())),
        "path": sys.path.copy(),
    }


def of_a_library(entry: Any) -> bool:
    """Whether a filter is one that a library has for warnings of its own."""
    message = getattr(entry[1], "pattern", entry[1]) or ""
    return entry[2].__module__ != "builtins" or message.startswith("numpy.")


def configured_loggers() -> Iterator[tuple[str, Any]]:
    """Loggers that are not as they are made, but for handlers that drop what nobody asked for."""
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            handlers = [repr(each) for each in logger.handlers if not isinstance(each, logging.NullHandler)]
            # These set the level of their own logger as they are imported, and no other.
            level = 0 if name in ("psycopg", "sqlalchemy") else logger.level
            if level or handlers or not logger.propagate or logger.disabled:
                yield name, (level, handlers, logger.propagate, logger.disabled)


def steps(url: str, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Ways to use the package, in order, each a call."""
    import seamless_assets as sa
    from seamless_assets.config.load import settings_from_mapping

    yield "import", lambda: None
    binance = {"base_url": url, "symbols": ["ADA/BTC"], "timeframes": ["1h"], "start": "2025-01-01"}
    store = {"artifact": {"object_store_uri": "./artifacts"}}
    settings = settings_from_mapping(
        {"seamless": store, "exchanges": {"binance": binance}}, base=folder, environ={}
    )
    window = ("2025-01-01", "2025-01-03")
    s = sa.connect(settings)
    yield "connect", lambda: s.releases(NODE)
    yield "materialize", lambda: s.materialize(NODE, *window)
    yield "read", lambda: s.read(NODE, *window)
    frame = s.read(NODE, *window).to_pandas()
    yield "conform", lambda: sa.conform(frame, interval=3600)
    yield "fingerprint", lambda: sa.fingerprint(frame, node_id=NODE, interval=3600)
    yield "await", lambda: asyncio.run(s.aio.coverage(NODE, *window))
    yield "session", lambda: s.session("w").read(NODE, *window)
    yield "upkeep", lambda: [s.verify(NODE), s.compact(NODE), s.gc(), s.evict(), s.diagnose()]
    yield "close", s.close
    # Last, as they bring all there is: Dagster, the servers' clients, the command line.
    for module in pkgutil.walk_packages(sa.__path__, "seamless_assets."):
        if not module.name.endswith(("__main__", ".definitions")):
            yield module.name, lambda name=module.name: importlib.import_module(name)


def changes(url: str, folder: Path) -> Iterator[tuple[str, str, Any, Any]]:
    """Step, what it changed, from what, to what."""
    before = state()
    for name, step in steps(url, folder):
        step()
        after = state()
        for what, now in after.items():
            # rich draws numbers for its styles.
            if now != before[what] and (name, what) != ("seamless_assets.cli", "numbers"):
                yield name, what, before[what], now
        before = after


def closes(pipeline: Any, window: tuple[int, int]) -> list[float]:
    """What another process reads with a pipeline that it was sent."""
    with pipeline:
        prices: list[float] = pipeline.read(NODE, *window, columns=["close"]).to_pandas()["close"].tolist()
        return prices


if __name__ == "__main__":
    found = list(changes(sys.argv[1], Path(sys.argv[2])))
    sys.stdout.write(json.dumps(found, default=repr))
