"""The SQLite file beneath the embedded stores."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

from seamless_assets.adapters.sqlite.file import is_damage, open_database


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    def open_at_once(path: Path, gate: Barrier) -> None:
        gate.wait()
        open_database(path, ("CREATE TABLE IF NOT EXISTS t (a)",), 1).close()

    with ThreadPoolExecutor(8) as pool:
        for number in range(100):
            gate = Barrier(8)
            opened = [pool.submit(open_at_once, tmp_path / f"{number}.sqlite", gate) for _ in range(8)]
            for one in opened:
                one.result()


def test_no_spoiled_byte_of_the_schema_is_an_untyped_error(tmp_path: Path) -> None:
    schema = ("CREATE TABLE IF NOT EXISTS bars (node TEXT NOT NULL, ts INTEGER NOT NULL) STRICT",)
    path = tmp_path / "sound.sqlite"
    open_database(path, schema, 1).close()
    sound = path.read_bytes()
    first = sound.index(b"tablebars")
    spoiled = tmp_path / "spoiled.sqlite"
    refused: list[sqlite3.Error] = []
    for at in range(first, sound.index(b"STRICT", first) + 6):
        spoiled.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
        try:
            with closing(open_database(spoiled, schema, 1)) as db:
                db.execute("SELECT node, ts FROM bars").fetchall()
        except sqlite3.Error as error:
            refused.append(error)
    assert all(is_damage(error, spoiled) for error in refused)
    assert "its schema is damaged" in map(str, refused) and len(refused) > 60
