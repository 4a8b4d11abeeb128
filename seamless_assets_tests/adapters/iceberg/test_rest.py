"""Catalogs by Iceberg's REST protocol: what they show, whoever else registers, however they fail."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from pyiceberg.catalog.rest import RestCatalog
from support.artifacts import NODE
from support.rest_catalogs import RestCatalogTwin, iceberg_servlet

from seamless_assets.adapters.iceberg.history import History
from seamless_assets.adapters.iceberg.metadata import TableDocument
from seamless_assets.adapters.iceberg.rest import RestTableCatalog
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.testing import START

SECONDS = 20.0
IDENTIFIER = tuple(NODE.asset_key)


def tables_in(folder: Path, count: int = 12) -> list[str]:
    """Metadata files of a table of so many releases, by their URLs."""
    place = folder / "_iceberg" / "metadata"
    place.mkdir(parents=True)
    history, snapshot = History(), Snapshot(str(NODE), None, ())
    document = TableDocument(str(NODE), f"file://{place.parent}")
    urls = []
    for seq in range(1, count + 1):
        entry = next_release(snapshot, added=(), withdrawn=(), now_micros=START, checks={}, reason="r")
        snapshot = Snapshot(str(NODE), entry, ())
        history.advance(entry)
        assert history.newest is not None
        document.add(history.newest)
        file = place / f"v{seq}.metadata.json"
        file.write_bytes(document.encode(seq))
        urls.append(f"file://{file}")
    return urls


@pytest.fixture(
    params=["overwrites", "drops", pytest.param("Iceberg's own", marks=pytest.mark.deep)],
)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "Iceberg's own":
        with iceberg_servlet(tmp_path) as url:
            yield url
        return
    with RestCatalogTwin(overwrites=request.param == "overwrites").running() as twin:
        yield twin.url
        assert not twin.dropped_for_good


def shown_by(url: str) -> str:
    table = RestCatalog("other", uri=url).load_table(IDENTIFIER)
    return Path(table.metadata_location).name


def test_a_catalog_shows_the_newest_table_and_never_goes_back(served: str, tmp_path: Path) -> None:
    urls = tables_in(tmp_path)
    catalog = RestTableCatalog(served, {}, SECONDS)
    for seq, shown in ((1, 1), (10, 10), (9, 10), (10, 10), (11, 11)):
        catalog.point(NODE, urls[seq - 1])
        assert shown_by(served) == f"v{shown}.metadata.json"
    other = RestTableCatalog(served, {}, SECONDS)
    other.point(NODE, urls[11])
    assert shown_by(served) == "v12.metadata.json"
    assert len(RestCatalog("other", uri=served).load_table(IDENTIFIER).metadata.snapshots) == 12
    elsewhere = tables_in(tmp_path / "elsewhere")
    with pytest.raises(ArtifactStoreError, match="of its own"):
        catalog.point(NODE, elsewhere[11])
    catalog.close()
    other.close()


def test_processes_side_by_side_leave_a_table(served: str, tmp_path: Path) -> None:
    urls = tables_in(tmp_path)
    catalogs = [RestTableCatalog(served, {}, SECONDS) for _ in range(3)]

    def follow(number: int) -> None:
        for url in urls[number::3]:
            # Whoever meets others too often gives up until its next release.
            with suppress(ArtifactStoreError):
                catalogs[number].point(NODE, url)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(follow, range(3)))
    # Each looks again once it has registered, and sees that there is a later one.
    catalogs[0].point(NODE, urls[-1])
    assert shown_by(served) == "v12.metadata.json"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 419, 429, 500, 503])
def test_a_catalog_that_refuses_is_an_error_of_the_store(tmp_path: Path, status: int) -> None:
    (url,) = tables_in(tmp_path, 1)
    with RestCatalogTwin().running() as twin:
        catalog = RestTableCatalog(twin.url, {}, SECONDS)
        twin.status = status
        with pytest.raises(ArtifactStoreError, match=f"{twin.url} does not register .*seamless mirror"):
            catalog.point(NODE, url)
        twin.status = None
        catalog.point(NODE, url)
        assert list(twin.tables.values()) == [url]


def test_a_token_is_sent_and_a_wrong_one_told(tmp_path: Path) -> None:
    (url,) = tables_in(tmp_path, 1)
    with RestCatalogTwin(token="right").running() as twin:
        with pytest.raises(ArtifactStoreError, match="who are you") as refused:
            RestTableCatalog(twin.url, {"token": "wrong-secret"}, SECONDS).point(NODE, url)
        assert "wrong-secret" not in str(refused.value)
        RestTableCatalog(twin.url, {"token": "right"}, SECONDS).point(NODE, url)
        assert twin.tables


def test_a_silent_catalog_is_waited_for_only_so_long(tmp_path: Path) -> None:
    (url,) = tables_in(tmp_path, 1)
    with RestCatalogTwin().running() as twin:
        twin.hung.set()
        with pytest.raises(ArtifactStoreError, match="timed out"):
            RestTableCatalog(twin.url, {}, 0.2).point(NODE, url)


def test_a_catalog_that_is_away_is_an_error_of_the_store(tmp_path: Path) -> None:
    (url,) = tables_in(tmp_path, 1)
    with RestCatalogTwin().running() as twin:
        gone = twin.url
    with pytest.raises(ArtifactStoreError, match="does not register"):
        RestTableCatalog(gone, {}, SECONDS).point(NODE, url)


def test_what_an_engine_wrote_is_taken_out_of_the_catalog(tmp_path: Path) -> None:
    urls = tables_in(tmp_path, 2)
    with RestCatalogTwin().running() as twin:
        catalog = RestTableCatalog(twin.url, {}, SECONDS)
        catalog.point(NODE, urls[0])
        (name,) = twin.tables
        foreign = Path(urls[0].removeprefix("file://")).with_name("00002-abc.metadata.json")
        foreign.write_bytes(Path(urls[0].removeprefix("file://")).read_bytes())
        twin.tables[name] = f"file://{foreign}"
        catalog.point(NODE, urls[1])
        assert twin.tables[name] == urls[1]
