"""What no record can say is refused by the name of what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.plausible import refuse_implausible_ref, refuse_implausible_release
from seamless_assets.core.releases.release import GENESIS, Release
from seamless_assets.testing import DAY, START

DIGEST = sha256_text(b"bars")
MINUTE = Timeframe("1m")
REF = ArtifactRef("2025-01-01", START, START + DAY, 1, DIGEST, DIGEST, DIGEST)
RELEASE = Release(
    node_id="ohlcv:binance:BTC/USDT:1m",
    seq=1,
    as_of="2025-01-02T00:00:00.000000Z",
    previous=GENESIS,
    dataset_fingerprint=DIGEST,
    added=(REF,),
    withdrawn=(),
    checks={},
    reason="test",
    hash=DIGEST,
)
NO_DIGESTS = ("", " ", DIGEST.upper(), DIGEST[:-1], f"{DIGEST}\n", f"{DIGEST} {DIGEST}", DIGEST[7:])


@pytest.mark.parametrize("text", NO_DIGESTS)
@pytest.mark.parametrize("at", range(3))
def test_each_digest_is_one(at: int, text: str) -> None:
    """Beside digests and beside nothing, which may not make up for one another."""
    refuse_implausible_ref(REF, MINUTE)
    refuse_implausible_release(RELEASE)
    of_ref = ("fingerprint", "file_sha256", "manifest_sha256")
    of_release = ("previous", "dataset_fingerprint", "hash")
    with pytest.raises(ValueError, match=f"{of_ref[at]} of an artifact is no SHA-256"):
        refuse_implausible_ref(replace(REF, **{of_ref[at]: text}), MINUTE)
    with pytest.raises(ValueError, match=f"{of_release[at]} is no SHA-256"):
        refuse_implausible_release(replace(RELEASE, **{of_release[at]: text}))
    for other in {0, 1, 2} - {at}:
        with pytest.raises(ValueError, match="is no SHA-256"):
            refuse_implausible_ref(replace(REF, **{of_ref[at]: text, of_ref[other]: ""}), MINUTE)


def test_an_artifact_is_named_once() -> None:
    for name in ("added", "withdrawn"):
        with pytest.raises(ValueError, match=f"names an artifact twice in {name}"):
            refuse_implausible_release(replace(RELEASE, **{"added": (), name: (REF, REF)}))
    with pytest.raises(ValueError, match="adds what it withdraws"):
        refuse_implausible_release(replace(RELEASE, withdrawn=(REF,)))
