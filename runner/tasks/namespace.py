"""Tasks on namespace files: UploadFiles, DownloadFiles, DeleteFiles. The files are behind ``World``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from namespaces import blobs
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation, files
from runner.tasks.globs import namespace_matcher, output_matcher
from runner.tasks.storage import uris
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types


def upload(context: Running, task: types.UploadFiles) -> Output:
    found: dict[str, bytes] = {}
    if task.files:
        folder = context.working_dir
        matches = output_matcher(task.files, str(folder))
        found.update({path: (folder / path).read_bytes() for path in files.walk(folder) if matches(path)})
    for name, value in (task.files_map or {}).items():
        found[str(name)] = _content(context, value)
    known = set(context.world.namespace_files(task.namespace))
    written: dict[str, str] = {}
    for name, content in found.items():
        path = _joined(task.destination, name)
        if path in known and task.conflict == "ERROR":
            raise RunFailed(f"namespace file {path} exists already", hint="conflict: OVERWRITE or SKIP")
        if path not in known or task.conflict == "OVERWRITE":
            context.world.namespace_file_write(task.namespace, path, content)
            written[path] = _uri(task.namespace, path)
    return Output(values={"files": written})


def _content(context: Running, value: Any) -> bytes:
    if files.is_uri(value):
        with context.open(value) as file:
            return file.read()
    return str(value).encode()


def _joined(folder: str, name: str) -> str:
    path = "/" + f"{folder.strip('/')}/{name.lstrip('/')}".lstrip("/")
    if ".." in PurePosixPath(path).parts:
        raise RunFailed(f"path {path!r} leaves the namespace")
    return path


def _uri(namespace: str, path: str) -> str:
    return blobs.uri(blobs.namespace_files_folder(namespace) + path)


def _matching(context: Running, namespace: str, patterns: str | list[str]) -> list[str]:
    matches = namespace_matcher(uris(patterns))
    return [path for path in context.world.namespace_files(namespace) if matches(path)]


def download(context: Running, task: types.DownloadFiles) -> Output:
    found: dict[str, str] = {}
    for path in _matching(context, task.namespace, task.files):
        content = context.world.namespace_file_read(task.namespace, path)
        target = _joined(task.destination, path).lstrip("/")
        found[path] = context.store(files.storage_name(target), content)
    return Output(values={"files": found})


def delete(context: Running, task: types.DeleteFiles) -> Output:
    gone: dict[str, str] = {}
    for path in _matching(context, task.namespace, task.files):
        context.world.namespace_file_delete(task.namespace, path)
        gone[path] = _uri(task.namespace, path)
    return Output(values={"files": gone})


TASKS = {
    CORE + "namespace.UploadFiles": Implementation(run=upload),
    CORE + "namespace.DownloadFiles": Implementation(run=download),
    CORE + "namespace.DeleteFiles": Implementation(run=delete),
}
