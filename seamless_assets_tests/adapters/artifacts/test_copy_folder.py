"""The folder of copies: bounded, swept, whole files only, whoever writes at once."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.aio.timing import one_turn
from seamless_assets.testing import START

MANY = 1_000_000


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_oldest_copies_go_first_and_what_was_never_finished_too(tmp_path: Path) -> None:
    folder = CopyFolder(tmp_path, MANY)
    for n in range(5):
        folder.keep(str(n), b"x" * 68)
        os.utime(tmp_path / str(n), (START + n, START + n))
    assert folder.load("0") == b"x" * 68
    (tmp_path / "x.tmp").write_bytes(b"half")
    os.utime(tmp_path / "x.tmp", (START, START))
    CopyFolder(tmp_path, 300).keep("5", b"y" * 68)
    assert names(tmp_path) == {"0", "5"}


def test_the_folder_stays_below_its_limit_and_is_seldom_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, scan = 0, os.scandir

    def counted(folder: Path) -> object:
        nonlocal looks
        looks += 1
        return scan(folder)

    monkeypatch.setattr(os, "scandir", counted)
    folder = CopyFolder(tmp_path, 40_000)
    for n in range(2_000):
        folder.keep(str(n), b"x" * 68)
        assert n % 50 or sum(path.stat().st_size for path in tmp_path.glob("*")) <= 40_000
    assert looks < 200 and len(names(tmp_path)) > 300


def test_a_copy_that_is_not_as_it_was_written_is_none(tmp_path: Path) -> None:
    folder, copy = CopyFolder(tmp_path, MANY), tmp_path / "one"
    folder.keep("one", b"body")
    whole = copy.read_bytes()
    altered = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for spoiled in (*altered, *(whole[:size] for size in range(len(whole))), whole + b"x"):
        copy.write_bytes(spoiled)
        assert folder.load("one") is None and folder.holds("one")
    folder.keep("one", b"body")
    assert folder.load("one") == b"body"


def test_what_may_drive_out_nothing_is_kept_where_there_is_room(tmp_path: Path) -> None:
    folder = CopyFolder(tmp_path, 250)
    for name in "abc":
        folder.keep(name, b"x" * 68, may_evict=False)
    assert names(tmp_path) == {"a", "b"}
    folder.keep("c", b"x" * 68)
    assert "c" in names(tmp_path)


def test_many_writers_of_one_copy_leave_one_whole_file(tmp_path: Path) -> None:
    folder = CopyFolder(tmp_path, MANY)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: folder.keep("one", bytes([n]) * 5_000), range(64)))
    assert names(tmp_path) == {"one"}
    assert len(set(folder.load("one") or b"")) == 1
    assert folder.holds("one") and not folder.holds("two") and folder.load("two") is None


def test_a_folder_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CopyFolder(tmp_path, MANY).keep("one", b"body")

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for call in ("utime", "makedirs", "unlink"):
        monkeypatch.setattr(os, call, refused)
    folder = CopyFolder(tmp_path, MANY)
    folder.keep("two", b"body")
    assert folder.load("one") == b"body" and folder.load("two") is None


async def test_what_was_begun_is_there_once_it_is_settled_and_a_fault_comes_out(tmp_path: Path) -> None:
    folder = CopyFolder(tmp_path, MANY)
    folder.keep_soon([(str(n), lambda: b"body") for n in range(20)])
    await folder.settle()
    assert len(names(tmp_path)) == 20
    folder.keep_soon([("bad", lambda: bytes([256]))])
    with pytest.raises(ValueError, match="range"):
        await folder.settle()
    await folder.settle()


async def test_what_was_written_is_over_and_its_thread_ends_with_the_folder(tmp_path: Path) -> None:
    before = writers()
    folder = CopyFolder(tmp_path, MANY)
    for number in range(3):
        folder.keep_soon([(f"one {number}", lambda: b"body")])
    written = threading.Event()
    folder.keep_soon([("last", lambda: written.set() or b"body")])
    assert await asyncio.to_thread(written.wait, 30)
    # The last one may still be on its way out.
    assert len(folder._writing) <= 1
    await folder.close()
    assert writers() == before
    folder.keep_soon([("later", lambda: b"body")])
    await folder.close()
    assert folder.load("later") == b"body" and not folder._writing


async def test_what_was_begun_is_settled_though_no_work_begins_on_threads_any_more(tmp_path: Path) -> None:
    folder, may_write = CopyFolder(tmp_path, MANY), threading.Event()

    def made() -> bytes:
        assert may_write.wait(60)
        return b"x"

    folder.keep_soon([("1", made)])
    await asyncio.get_running_loop().shutdown_default_executor()
    asyncio.get_running_loop().call_later(0, may_write.set)
    await folder.close()
    assert folder.load("1") == b"x"
    await folder.close()


async def test_who_is_cancelled_as_the_folder_closes_leaves_once_all_is_written(tmp_path: Path) -> None:
    folder, is_writing, may_write = CopyFolder(tmp_path, MANY), threading.Event(), threading.Event()

    def made() -> bytes:
        is_writing.set()
        assert may_write.wait(60)
        return b"x"

    folder.keep_soon([("1", made)])
    assert await asyncio.to_thread(is_writing.wait, 30)
    closing = asyncio.create_task(folder.close())
    await one_turn()
    closing.cancel()
    await one_turn()
    await one_turn()
    assert not closing.done()
    may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert folder.load("1") == b"x"


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("copies")]
