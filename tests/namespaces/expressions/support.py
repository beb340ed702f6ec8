"""Helpers of the expression tests: a common context, and ports that answer from plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from namespaces.expressions import NoPorts, Ports, RenderError, render

CONTEXT: dict[str, Any] = {
    "s": "hello",
    "t": True,
    "f": False,
    "n": 5,
    "x": 2.5,
    "nul": None,
    "empty": "",
    "blank": "  ",
    "str5": "5",
    "list": ["a", "b", "c"],
    "numbers": [3, 1, 2],
    "m": {"k": "v", "n": None, "size": "key"},
    "plain": {"a": 1},
    "maps": [{"id": 1}, {"id": 2}],
    "flow": {"id": "f", "namespace": "company.team"},
    "execution": {"id": "E1"},
    "date": datetime(2013, 9, 8, 14, 19, 12, 123456, tzinfo=UTC),
    "vars": {"first": 1, "second": "{{ vars.first }}", "third": "{{ vars.second }}"},
    "inputs": {"name": "bob", "text": "{{ secret('K') }}"},
    "envs": {"a": "environment"},
    "globals": {"a": "global"},
}


def out(template: str, ports: Ports | None = None, **context: Any) -> str:
    """The text of a template in the common context, with some roots replaced."""
    return render(
        template, {**CONTEXT, **context}, ports or NoPorts(), now=lambda: datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    )


def fault(template: str, ports: Ports | None = None, **context: Any) -> str:
    """The message of the error that a template must give."""
    try:
        made = out(template, ports, **context)
    except RenderError as error:
        return str(error)
    raise AssertionError(f"{template} gave {made!r}, not an error")


class PlainPorts(NoPorts):
    """Answers from maps and remembers what was asked."""

    def __init__(self, **values: object) -> None:
        self.values = values
        self.asked: list[tuple[object, ...]] = []

    def secret(self, key: str, namespace: str | None, subkey: str | None, full: bool) -> object:
        self.asked.append(("secret", key, namespace, subkey, full))
        if key not in self.values:
            raise RenderError(f"Cannot find secret for key '{key}'.")
        return self.values[key]

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
        self.asked.append(("kv", key, namespace, error_on_missing))
        if key not in self.values and error_on_missing:
            raise RenderError(f"The key '{key}' does not exist")
        return self.values.get(key)

    def read(self, path: str, namespace: str | None, revision: int | None) -> str:
        self.asked.append(("read", path, namespace, revision))
        return str(self.values[path])

    def file_uri(self, path: str, revision: int | None) -> str:
        self.asked.append(("file_uri", path, revision))
        return f"kestra:///company/team/_files/{path}"

    def file_size(self, path: str) -> int:
        return len(str(self.values[path]))

    def file_exists(self, path: str) -> bool:
        return path in self.values

    def env(self, name: str) -> str | None:
        found = self.values.get(name)
        return None if found is None else str(found)

    def http(self, request: Mapping[str, object]) -> object:
        self.asked.append(("http", dict(request)))
        return self.values["http"]

    def error_logs(self) -> list[dict[str, object]]:
        return [{"message": "boom", "level": "ERROR"}]

    def tasks_with_state(self, state: str) -> list[dict[str, object]]:
        return [{"taskId": "t", "state": state}]

    def subflow(self, request: Mapping[str, object]) -> object:
        self.asked.append(("subflow", dict(request)))
        return {"state": "SUCCESS", "outputs": {"a": 1}}

    def iteration_output(self, outputs: object, iteration: int | None) -> object:
        self.asked.append(("iteration_output", outputs, iteration))
        return {"value": "previous"}


class LazyMap(Mapping[str, object]):
    """A map that computes each value, refuses to be walked, and remembers its questions."""

    def __init__(self, values: Mapping[str, object], *, walkable: bool = False) -> None:
        self._values = values
        self._walkable = walkable
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> object:
        self.asked.append(key)
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        if not self._walkable:
            raise AssertionError("a lazy map was walked")
        return iter(self._values)

    def __len__(self) -> int:
        if not self._walkable:
            raise AssertionError("a lazy map was counted")
        return len(self._values)
