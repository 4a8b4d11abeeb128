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


def test_the_service_answers_until_it_is_asked_to_end(project: Path) -> None:
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
        server.terminate()
        assert server.wait(30) == 128 + signal.SIGTERM
    finally:
        server.kill()
        server.wait()
    assert "Traceback" not in log.read_text()
