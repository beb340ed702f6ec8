"""The functions of the language that reach out of it, as a protocol that the shell implements.

Nothing here does I/O. Every method may raise :class:`RenderError`, which becomes the error of the rendering.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

from namespaces.expressions.failures import RenderError


class Ports(Protocol):
    """What a template may ask of the server."""

    def secret(self, key: str, namespace: str | None, subkey: str | None, full: bool) -> object: ...
    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object: ...
    def read(self, path: str, namespace: str | None, revision: int | None) -> str: ...
    def file_uri(self, path: str, revision: int | None) -> str: ...
    def file_size(self, path: str) -> int: ...
    def file_exists(self, path: str) -> bool: ...
    def env(self, name: str) -> str | None: ...
    def http(self, request: Mapping[str, object]) -> object: ...
    def error_logs(self) -> list[dict[str, object]]: ...
    def tasks_with_state(self, state: str) -> list[dict[str, object]]: ...
    def subflow(self, request: Mapping[str, object]) -> object: ...
    def iteration_output(self, outputs: object, iteration: int | None) -> object: ...


#: The methods above by name: what a renderer process may ask its parent for.
PORT_NAMES = (
    "secret", "kv", "read", "file_uri", "file_size", "file_exists", "env", "http", "error_logs",
    "tasks_with_state", "subflow", "iteration_output",
)  # fmt: skip


def _refuse(name: str) -> NoReturn:
    raise RenderError(f"{name}() is not available here", hint="this text is rendered outside of an execution")


class NoPorts:
    """Refuses everything that reaches out: for lint, previews and places where no execution exists."""

    def secret(self, key: str, namespace: str | None, subkey: str | None, full: bool) -> object:
        _refuse("secret")

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
        _refuse("kv")

    def read(self, path: str, namespace: str | None, revision: int | None) -> str:
        _refuse("read")

    def file_uri(self, path: str, revision: int | None) -> str:
        _refuse("fileURI")

    def file_size(self, path: str) -> int:
        _refuse("fileSize")

    def file_exists(self, path: str) -> bool:
        _refuse("fileExists")

    def env(self, name: str) -> str | None:
        _refuse("env")

    def http(self, request: Mapping[str, object]) -> object:
        _refuse("http")

    def error_logs(self) -> list[dict[str, object]]:
        _refuse("errorLogs")

    def tasks_with_state(self, state: str) -> list[dict[str, object]]:
        _refuse("tasksWithState")

    def subflow(self, request: Mapping[str, object]) -> object:
        _refuse("subflow")

    def iteration_output(self, outputs: object, iteration: int | None) -> object:
        _refuse("iterationOutput")
