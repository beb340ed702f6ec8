"""The examples in the table of the language hold, and the reference page shows exactly that table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from namespaces.expressions import NoPorts, RenderError, render
from namespaces.expressions.builtins import FILTERS, FUNCTIONS, TESTS
from namespaces.expressions.reference import page

_EXAMPLES = [example for table in (FILTERS, FUNCTIONS, TESTS) for entry in table.values() for example in entry.examples]


CONTEXT: dict[str, Any] = {
    "flow": {"id": "example", "namespace": "company.team"},
    "taskrun": {"value": "b", "iteration": 1},
    "parents": [{"outputs": {"evaluationResult": True}}],
    "outputs": {
        "say": {"a": {"value": "hello a"}, "b": {"value": "hello b"}},
        "loop": {"outputs": [{"outputs": {"city": "Berlin"}}, {"outputs": {"city": "Paris"}}]},
    },
}
"""What the page says that examples are given, with the ports below."""


class SamplePorts(NoPorts):
    def secret(self, key: str, namespace: str | None, subkey: str | None, full: bool) -> object:
        return {"TOKEN": "s3cret"}[key]

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
        return {"cursor": 42}.get(key)

    def read(self, path: str, namespace: str | None, revision: int | None) -> str:
        return {"hello.txt": "Hello"}[path]

    def file_uri(self, path: str, revision: int | None) -> str:
        return f"kestra:///company/team/_files/{path}"

    def file_size(self, path: str) -> int:
        return len(self.read(path, None, None))

    def file_exists(self, path: str) -> bool:
        return path == "hello.txt"

    def env(self, name: str) -> str | None:
        return {"region": "eu"}.get(name)

    def http(self, request: Mapping[str, object]) -> object:
        return {"name": "Ada"}

    def error_logs(self) -> list[dict[str, object]]:
        return [{"taskId": "load", "message": "it broke"}]

    def tasks_with_state(self, state: str) -> list[dict[str, object]]:
        return [{"taskId": "load", "state": state, "value": None}]

    def subflow(self, request: Mapping[str, object]) -> object:
        return {"outputs": {"city": "Paris"}}

    def iteration_output(self, outputs: Any, iteration: int | None) -> object:
        return outputs["a"]


@pytest.mark.parametrize(("template", "result"), _EXAMPLES, ids=[template for template, _ in _EXAMPLES])
def test_an_example_of_the_reference_gives_what_it_says(template: str, result: str) -> None:
    try:
        made = render(template, CONTEXT, SamplePorts())
    except RenderError as error:
        made = f"error: {error}"

    assert made == result


@pytest.mark.parametrize("name", sorted({*FILTERS, *FUNCTIONS, *TESTS}))
def test_every_name_is_documented_with_an_example(name: str) -> None:
    for table in (FILTERS, FUNCTIONS, TESTS):
        if name in table:
            assert table[name].doc
            assert table[name].examples or table[name].legacy


def test_the_reference_page_is_the_table() -> None:
    path = Path(__file__).parents[3] / "docs" / "reference" / "expressions.md"

    assert path.read_text() == page(), "run: python -m namespaces.expressions.reference > docs/reference/expressions.md"
