"""The SQLite file beneath the embedded stores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from seamless_assets.adapters.sqlite.file import open_database


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
