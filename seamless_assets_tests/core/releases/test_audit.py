"""Audits of a file against a manifest whose hashes match and that still says what the file does not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.artifacts import NODE, sealed, sealed_before

from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.releases.artifact import ArtifactRef, SealedArtifact
from seamless_assets.core.releases.audit import audit_file
from seamless_assets.testing import START


def problems(artifact: SealedArtifact, **facts: object) -> list[str]:
    manifest = replace(artifact.manifest, **facts)
    _, flaws = audit_file(NODE, ArtifactRef.of(manifest), manifest, artifact.payload)
    return [flaw.problem for flaw in flaws]


def gap(first: int, last: int) -> Gap:
    return Gap(START + first * 60, START + last * 60, "no_trades")


HOLED = sealed(end=START + 1200, absent=(gap(10, 20),))


def test_an_artifact_as_it_was_sealed_has_no_flaw() -> None:
    assert problems(HOLED) == [] and problems(HOLED, policy={}) == []
    before = sealed_before(HOLED)
    assert before.manifest.extents and problems(before) == [] and problems(before, extents=()) == []
    assert problems(sealed(0, end=START + 60, absent=(gap(0, 1),))) == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"policy": {"extents": HOLED.manifest.packing.extents[::-1]}}, "its extents lie elsewhere"),
        ({"policy": {"extents": sealed(11).manifest.packing.extents}}, "its extents lie elsewhere"),
        ({"policy": {}, "extents": HOLED.manifest.packing.extents}, "its extents lie elsewhere"),
        ({"absent": (gap(9, 19),)}, "not those that its manifest leaves"),
        ({"absent": (gap(0, 5), gap(15, 20))}, "not those that its manifest leaves"),
        ({"absent": (gap(10, 19),)}, "10 bars and 9 that are accounted for are not the 20"),
    ],
)
def test_a_manifest_that_says_other_things_of_the_file_is_a_flaw(
    facts: dict[str, object], message: str
) -> None:
    (problem,) = problems(HOLED, **facts)
    assert message in problem
