"""One contract for every back end of internal storage, and the layouts of its URIs."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from namespaces import blobs
from namespaces.blobs import LocalStorage, MemoryStorage, Storage
from namespaces.errors import InvalidInput, NotFound


@pytest.fixture(params=["memory", "local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else LocalStorage(tmp_path / "files")


def read(storage: Storage, path: str) -> bytes:
    with storage.open(path) as file:
        return file.read()


def test_a_file_is_kept_and_named_by_its_uri(storage: Storage) -> None:
    assert storage.put("/a/b/c.txt", b"hello") == "kestra:///a/b/c.txt"
    assert read(storage, "kestra:///a/b/c.txt") == b"hello"
    assert storage.size("/a/b/c.txt") == 5
    assert storage.exists("/a/b/c.txt")


def test_content_comes_as_bytes_file_or_path(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"path")
    storage.put("/x/1", io.BytesIO(b"file"))
    storage.put("/x/2", tmp_path / "source")
    assert (read(storage, "/x/1"), read(storage, "/x/2")) == (b"file", b"path")


def test_a_later_file_replaces_the_earlier(storage: Storage) -> None:
    storage.put("/a/b", b"1")
    storage.put("/a/b", b"22")
    assert read(storage, "/a/b") == b"22"


def test_too_large_a_file_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(InvalidInput) as caught:
        storage.put("/a/big", io.BytesIO(b"x" * 11), limit=10)
    assert caught.value.code == "file_too_large"
    assert not storage.exists("/a/big")
    assert storage.list("/a") == []


def test_a_missing_file_is_not_found(storage: Storage) -> None:
    for call in (storage.open, storage.size):
        with pytest.raises(NotFound):
            call("/a/none")
    assert not storage.exists("/a/none")
    assert not storage.delete("/a/none")


def test_deleting_files_and_folders(storage: Storage) -> None:
    for name in ("/a/b/1", "/a/b/2", "/a/c/3"):
        storage.put(name, b"x")
    assert storage.list("/a") == ["/a/b/1", "/a/b/2", "/a/c/3"]
    assert storage.delete("/a/b/1")
    assert storage.delete_prefix("/a/b") == ["/a/b/2"]
    assert storage.list("/a") == ["/a/c/3"]
    assert storage.delete_prefix("/nowhere") == []


def test_copying(storage: Storage) -> None:
    storage.put("/a/1", b"x")
    storage.copy("/a/1", "/b/2")
    assert read(storage, "/b/2") == b"x"


@pytest.mark.parametrize(
    "path", ["/a/../b", "/..", "/a//b", "a/b", "/a/./b", "/a\0b", "", "/", "kestra://a/b", "/" + "x" * 300]
)
def test_a_path_that_could_leave_its_folder_is_refused(storage: Storage, path: str) -> None:
    for call in (storage.open, storage.exists, storage.delete, storage.list):
        with pytest.raises(InvalidInput):
            call(path)
    with pytest.raises(InvalidInput):
        storage.put(path, b"x")


def test_links_and_special_files_are_never_followed(tmp_path: Path) -> None:
    root = tmp_path / "files"
    storage = LocalStorage(root)
    storage.put("/a/real", b"x")
    os.symlink("/etc", root / "a" / "etc")
    os.symlink("/etc/passwd", root / "a" / "passwd")
    os.mkfifo(root / "a" / "fifo")
    for path in ("/a/etc/passwd", "/a/passwd", "/a/fifo", "/a"):
        with pytest.raises(NotFound):
            storage.open(path)
        assert not storage.exists(path)
    assert storage.list("/a") == ["/a/real"]
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        storage.put("/a/etc/new", b"x")


def test_files_are_private_and_no_temporary_one_is_left(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    storage.put("/a/b", b"x")
    assert (tmp_path / "files/a/b").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in (tmp_path / "files/a").iterdir()] == ["b"]


def test_layouts() -> None:
    assert blobs.task_folder("company.team", "My_Flow", "e1", "Task_1", "t1") == (
        "/company/team/my-flow/executions/e1/tasks/task-1/t1"
    )
    assert blobs.input_file("a", "f", "e", "in", "x.csv") == "/a/f/executions/e/inputs/in/x.csv"
    assert blobs.trigger_file("a", "f", "e", "t", "x") == "/a/f/executions/e/trigger/t/x"
    assert blobs.state_folder("a.b", None) == "/a/b/states"
    assert blobs.state_folder("a.b", "f") == "/a/b/f/states"
    assert blobs.execution_of("/a/f/executions/e1/inputs/x") == "e1"
    assert blobs.execution_of("/a/_files/x") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Hello World", "hello-world"), ("été_à  la__plage", "ete-a-la-plage"), ("a.b/c!", "abc"), ("x--y", "x-y")],
)
def test_slugs(text: str, expected: str) -> None:
    assert blobs.slug(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "a.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ("", "file"),
        ("..", "file"),
        ("a\nb", "ab"),
    ],
)
def test_names_from_outside_become_one_segment(name: str, expected: str) -> None:
    assert blobs.safe_name(name) == expected
    assert len(blobs.safe_name("é" * 400 + ".csv").encode()) <= 200
