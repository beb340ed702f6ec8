"""Namespace files: versions by generation, safe paths."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from namespaces import files, revisions
from namespaces.errors import InvalidInput, NotFound
from namespaces.store.db import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write(database: Database, path: str, content: bytes) -> files.Entry:
    return database.write(lambda tx: files.write(tx, "a", path, content, now=NOW))


def read(database: Database, path: str, **more: int) -> bytes | None:
    return database.read(lambda c: files.read(c, "a", path, **more))


def test_a_generation_keeps_the_content_it_saw(database: Database) -> None:
    write(database, "/x.txt", b"one")
    before = database.read(revisions.generation)
    write(database, "/x.txt", b"two")
    database.write(lambda tx: files.delete(tx, "a", "/x.txt", now=NOW))

    assert read(database, "/x.txt") is None
    assert read(database, "/x.txt", generation=before) == b"one"
    assert read(database, "/x.txt", generation=before + 1) == b"two"
    assert read(database, "/x.txt", revision=2) == b"two"
    assert database.read(lambda c: files.versions(c, "a", "/x.txt")) == [1, 2]


def test_an_equal_content_is_no_new_version(database: Database) -> None:
    first = write(database, "/x.txt", b"one")
    again = write(database, "x.txt", b"one")

    assert (first.revision, again.revision) == (1, 1)


def test_a_folder_goes_with_everything_in_it(database: Database) -> None:
    for path in ("/a/1", "/a/b/2", "/ab", "/a_c"):
        write(database, path, b"x")

    gone = database.write(lambda tx: files.delete(tx, "a", "/a", now=NOW))

    assert sorted(gone) == ["/a/1", "/a/b/2"]
    assert database.read(lambda c: files.paths(c, "a")) == ["/a_c", "/ab"]


def test_a_folder_is_moved_with_everything_in_it(database: Database) -> None:
    write(database, "/a/b/2", b"x")
    write(database, "/taken/b/2", b"y")

    with pytest.raises(InvalidInput):
        database.write(lambda tx: files.move(tx, "a", "/a", "/taken", now=NOW))
    with pytest.raises(NotFound):
        database.write(lambda tx: files.move(tx, "a", "/none", "/c", now=NOW))
    database.write(lambda tx: files.move(tx, "a", "/a", "/c", now=NOW))

    assert database.read(lambda c: files.paths(c, "a")) == ["/c/b/2", "/taken/b/2"]


@pytest.mark.parametrize(
    "path",
    ["..", "/a/..", "/a//b", "/./a", "/.git", "/a/.GIT/config", "/a\\b", "/a\0", "/a\n", "/a.", "/a ", "/_flows/x.yml"],
)
def test_paths_that_mean_another_place_somewhere_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        files.clean(path)


def test_composed_and_decomposed_names_are_one_file() -> None:
    assert files.clean("/é") == files.clean("/é")
