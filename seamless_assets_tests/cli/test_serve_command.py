"""`seamless serve` and `seamless token`: who is let in, and how the service ends."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from cli.conftest import NODE, Typed
from support.services import await_answer, free_port

import seamless_assets as sa
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.errors import NothingReleased
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

WINDOW = (START, START + 3_600)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_served_without_tokens(project: Path, typed: Typed, host: str) -> None:
    result = typed("serve", "--host", host, "--port", str(free_port()))
    assert result.status == 1 and "seamless token" in result.err and host in result.err


def test_a_token_is_shown_once_and_its_hash_fits_the_settings(project: Path, typed: Typed) -> None:
    result = typed("token", "bot 1", "--scope", "read", "--scope", "lease")
    (line,) = [line for line in result.err.splitlines() if line.startswith("token: ")]
    token = line.removeprefix("token: ")
    assert result.status == 0 and token not in result.out
    whole = {**yaml.safe_load((project / "seamless.yaml").read_text()), **yaml.safe_load(result.out)}
    kept = settings_from_mapping(whole, project).service.tokens["bot 1"]
    assert kept.sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert kept.scopes == ("read", "lease")


KILLED = """
import os, signal, sys
import seamless_assets as sa
live = sa.ComputeContext(domain="live", max_lag=1e9)
s = sa.connect("seamless.yaml")
s.read(sys.argv[1], *map(int, sys.argv[2:]), context=live, strategy="PARTIAL_FILL", sla="tolerant-partial")
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_a_fill(project: Path, exchange: Sandbox) -> None:
    """A reader that wants a fill and is killed before the exchange says anything."""
    config = project / "seamless.yaml"
    config.write_text(
        config.read_text().replace("backfill: {", "backfill: {distributed_lease_ttl_ms: 1000, ")
    )
    exchange.faults.add(Fault("hang", path="klines", times=None))
    command = [sys.executable, "-c", KILLED, NODE, *map(str, WINDOW)]
    assert subprocess.run(command, cwd=project, check=False).returncode == -signal.SIGKILL
    exchange.faults.clear()


def test_the_service_answers_and_fills_what_others_left_until_it_is_asked_to_end(
    project: Path, exchange: Sandbox
) -> None:
    leave_a_fill(project, exchange)
    port, log = free_port(), project / "serve.log"
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", "from seamless_assets.cli import main; main()", "serve"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)], cwd=project, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        await_answer(server, f"{url}/healthz", log)
        with sa.connect(url) as face, pytest.raises(NothingReleased):
            face.read(NODE)
        with urlopen(f"{url}/readyz") as ready, urlopen(f"{url}/metrics") as metrics:
            assert ready.status == 200 and b"seamless_total_ms" in metrics.read()
        with sa.connect(str(project / "seamless.yaml")) as pipeline:
            while pipeline.coverage(NODE, *WINDOW).missing:
                assert server.poll() is None
        server.terminate()
        assert server.wait(30) == 128 + signal.SIGTERM
    finally:
        server.kill()
        server.wait()
    assert "Traceback" not in log.read_text()
