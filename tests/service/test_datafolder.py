"""A start on a bad data folder is refused in one sentence (reliability R19)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from namespaces.errors import StartRefused
from service import datafolder


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "data"

    datafolder.prepare(folder)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_database_and_its_log_are_for_the_owner_only(tmp_path: Path, before: int | None) -> None:
    """Wherever it is: ``--database`` may name a folder that others can read."""
    database = tmp_path / "lanner.db"
    if before is not None:
        database.touch()
        database.chmod(before)

    datafolder.protect(database)

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"lanner.db": 0o600, "lanner.db-wal": 0o600, "lanner.db-shm": 0o600}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(StartRefused, match="cannot be written"):
        datafolder.prepare(tmp_path / "data")


def test_a_second_server_is_refused_and_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    held = datafolder.lock(tmp_path / "lanner.db")

    with pytest.raises(StartRefused, match=r"another Lanner server \(process \d+\) uses"):
        datafolder.lock(tmp_path / "lanner.db")

    held.release()
    datafolder.lock(tmp_path / "lanner.db").release()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lanner.db").write_bytes(b"not a database at all")

    with pytest.raises(StartRefused, match="is not an SQLite database"):
        datafolder.check_sqlite(tmp_path / "lanner.db")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lanner.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 500)
        connection.commit()
    content = bytearray(path.read_bytes())
    content[4096:16384] = b"\xff" * 12288
    path.write_bytes(content)

    with pytest.raises(StartRefused, match="is damaged"):
        datafolder.check_sqlite(path)


def test_a_sound_database_passes(tmp_path: Path) -> None:
    path = tmp_path / "lanner.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")

    datafolder.check_sqlite(path)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"none / ext4 rw 0 0\nhost:/x {str(tmp_path).replace(' ', chr(92) + '040')}/net nfs4 rw 0 0\n")
    (tmp_path / "net" / "data").mkdir(parents=True)

    assert datafolder.file_system(tmp_path / "net" / "data", mounts) == "nfs4"
    assert datafolder.file_system(tmp_path, mounts) == "ext4"


def test_workers_of_one_folder_have_a_spool_each_and_the_first_free_one_is_taken_again(tmp_path: Path) -> None:
    first, held = datafolder.own_spool(tmp_path)
    second, other = datafolder.own_spool(tmp_path)
    held.release()
    again, back = datafolder.own_spool(tmp_path)

    assert [first.name, second.name, again.name] == ["local", "local-2", "local"]
    other.release()
    back.release()
