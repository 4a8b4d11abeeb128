"""Versions of the package side by side: this one here, an earlier one in a process of its own.

`python versions.py ROOT SETTINGS` answers calls, JSON on one line each, through the face of the package that
lies below ROOT.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

BEFORE = "288f0d480e20731e9c54f34aef5a7a7dcefc56d6"
"""The last commit whose files hold volumes in another encoding and no field ids."""
ROOT = Path(__file__).resolve().parents[2]
REASON = "a test said so"


def unpacked(commit: str, folder: Path) -> Path:
    """The package as it was at a commit, below `folder`. Raises `LookupError` where git does not hold it."""
    result = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "seamless_assets"], capture_output=True, check=False
    )
    if result.returncode:
        raise LookupError(f"{commit[:7]} is not in the history of {ROOT}: {result.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(result.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


class ThisVersion:
    """The package as it is here, opened with `settings` until `close`."""

    def __init__(self, settings: Path) -> None:
        import seamless_assets as sa

        self._pipeline = sa.connect(settings)

    def call(self, name: str, **arguments: Any) -> Any:
        """What a call of `CALLS` returns, or the error it raises as `{"error": NAME, "text": MESSAGE}`."""
        return answer_of(self._pipeline, name, arguments)

    def close(self) -> None:
        """Close the pipeline."""
        self._pipeline.close()


class OtherVersion:
    """The package below `root`, opened with `settings` in a process that lives until `close`."""

    def __init__(self, root: Path, settings: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__)), str(root), str(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, **arguments: Any) -> Any:
        """The same as `ThisVersion.call`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([name, arguments])}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process ended in {name}{arguments}"
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def digest(columns: list[Any]) -> str:
    """A hash of the values of bars, column by column, as little-endian numbers."""
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()


def _read(s: Any, node: str, start: int, end: int, as_of: str) -> str:
    import seamless_assets as sa

    read = s.read(node, start, end, context=sa.ComputeContext(world_id="w", domain="backtest", as_of=as_of))
    return digest([column.to_numpy() for column in read.to_arrow().columns])


def _log(s: Any, node: str) -> list[dict[str, Any]]:
    return [{"as_of": entry.as_of, "hash": entry.hash, "kind": entry.kind} for entry in s.releases(node)]


def _faults(s: Any, node: str) -> list[str]:
    return [f"{fault.uri}: {fault.problem}" for fault in s.verify(node).faults]


CALLS: dict[str, Callable[..., Any]] = {
    "materialize": lambda s, node, start, end: s.materialize(node, start, end).released,
    "release": lambda s, node, partition: bool(s.release(node, reason=REASON, partition=partition)),
    "roll back": lambda s, node, as_of: bool(s.rollback(node, reason=REASON, as_of=as_of)),
    "withdraw": lambda s, node, partition: bool(s.withdraw(node, partition, reason=REASON)),
    "unpin": lambda s, node: bool(s.unpin(node, reason=REASON)),
    "compact": lambda s, node: s.compact(node).after,
    "clean up": lambda s, node: len(s.gc(node, grace_s=0)[0].removed),
    "read": _read,
    "log": _log,
    "faults": _faults,
}


def answer_of(pipeline: Any, name: str, arguments: dict[str, Any]) -> Any:
    """What a call returns, or the error it raises."""
    from seamless_assets.errors import SeamlessError

    try:
        return CALLS[name](pipeline, **arguments)
    except SeamlessError as error:
        return {"error": type(error).__name__, "text": str(error)}


def main(root: str, settings: str) -> None:
    """Answer calls until there are no more."""
    sys.path.insert(0, root)
    import seamless_assets as sa

    assert sa.__file__ == str(Path(root) / "seamless_assets" / "__init__.py"), sa.__file__
    with sa.connect(settings) as pipeline:
        for line in sys.stdin:
            sys.stdout.write(f"{json.dumps(answer_of(pipeline, *json.loads(line)))}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
