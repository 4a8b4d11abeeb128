"""On what rows were measured: the machine, and the versions of the project, its packages and its peers."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.peers.environments import HOME, PEERS, installed_version
from bench.places import ROOT

PACKAGES = (
    "seamless-assets",
    "ccxt",
    "dagster",
    "fastapi",
    "numpy",
    "pandas",
    "pandera",
    "pyarrow",
    "questdb",
    "uvicorn",
)


def machine_facts() -> dict[str, str]:
    """What decides how fast a machine is, in words."""
    processor = _first_line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    kib = int((_first_line("/proc/meminfo", "MemTotal") or "0").split()[0])
    return {
        "processor": f"{processor}, {os.cpu_count()} threads",
        "memory": f"{kib / 1024**2:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Versions of what was measured; a peer has its own where it was installed from PyPI for itself."""
    found = {name: version(name) for name in PACKAGES}
    for name, peer in PEERS.items():
        python = HOME / name.lower() / "bin" / "python"
        if not peer.is_ours and python.exists():
            found[name] = installed_version(python, peer.packages[0]) or "not installed"
    return found


def commit() -> str:
    """The commit of the checkout, with a plus sign where files of it were changed."""
    words = ("git", "describe", "--always", "--dirty=+", "--exclude=*")
    try:
        answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no git"
    return answer.stdout.strip() or "no checkout"


def is_in_history(commit: str) -> bool:
    """Whether the checkout is at that commit or comes after it; a name of one, such as HEAD, is none."""
    if not re.fullmatch("[0-9a-f]{4,40}", commit):
        return False
    words = ("git", "merge-base", "--is-ancestor", commit, "HEAD")
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode == 0


def _first_line(file: str, name: str) -> str | None:
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
