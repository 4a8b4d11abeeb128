"""The environments of peers, made with uv where they are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.places import OURS, ROOT, reach_support

HOME = ROOT / ".venv" / "peers"


@dataclass(frozen=True)
class Peer:
    """What a peer's environment holds; where `is_ours`, in the versions that the project runs on itself."""

    packages: tuple[str, ...]
    is_ours: bool = True


PEERS = {
    "ArcticDB": Peer(("arcticdb", "pyarrow"), is_ours=False),
    "Dagster": Peer(("dagster", "dagster-webserver")),
    "DuckDB": Peer(("duckdb", "pyarrow")),
    "FastAPI": Peer(("fastapi", "uvicorn", "httptools")),
    "QuestDB": Peer(("questdb", "psycopg[binary]", "pandas", "pyarrow")),
    "ccxt": Peer(("ccxt", "aiohttp")),
    "freqtrade": Peer(("freqtrade",), is_ours=False),
    "polars": Peer(("polars", "pyarrow")),
    "pyarrow": Peer(("pyarrow", "pandas")),
}


class PeerUnavailable(RuntimeError):
    """A peer that cannot be had here; the message says why."""


def peer_python(name: str, *, quick: bool = False) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing.

    A quick run installs nothing: peers that the project runs on itself are run in its own environment, others
    only where they were installed before. Raises `PeerUnavailable`.
    """
    peer = PEERS[name]
    if quick and peer.is_ours:
        return OURS
    home = HOME / name.lower()
    python, stamp = home / "bin" / "python", home / ".installed"
    wanted = _wanted(peer)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    if quick:
        raise PeerUnavailable(f"a quick run does not install {name}")
    _make(name, home, peer)
    stamp.write_text(wanted)
    return python


def installed_version(python: Path, package: str) -> str | None:
    """The version of a package in an environment; None where it is not installed."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _wanted(peer: Peer) -> str:
    locked = (ROOT / "constraints.txt").read_text() if peer.is_ours else ""
    return "\n".join((sys.version, *peer.packages, locked))


def _make(name: str, home: Path, peer: Peer) -> None:
    reach_support()
    from bootstrap import uv_environment

    print(f"installing {name} into {home.relative_to(ROOT)}", file=sys.stderr, flush=True)
    uv = (sys.executable, "-m", "uv")
    locked = ("--constraint", "constraints.txt") if peer.is_ours else ()
    environment = {key: value for key, value in uv_environment().items() if key != "VIRTUAL_ENV"}
    for words in (
        ("venv", "--quiet", "--clear", "--python", sys.executable, home),
        (
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            home / "bin" / "python",
            *locked,
            *peer.packages,
        ),
    ):
        answer = subprocess.run(
            [*uv, *map(os.fspath, words)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            words_of_it = answer.stderr.strip().splitlines()
            raise PeerUnavailable(
                f"{name} cannot be installed: {words_of_it[-1] if words_of_it else 'uv failed'}"
            )
