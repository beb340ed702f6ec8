"""Every built-in type is described, and its example is valid; those that need nothing outside run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from namespaces.flows.catalog import Catalog, TypeEntry
from namespaces.flows.parse import read_flow
from service.cli.local import LocalInstance

CATALOG = Catalog()
ENTRIES = sorted(CATALOG, key=lambda entry: entry.name)
CORE = "io.kestra.plugin.core."
WRITE = {"id": "file", "type": CORE + "storage.Write", "content": "{id: 1}\n{id: 2}\n"}


def flow_with(entry: TypeEntry, example: dict[str, Any]) -> dict[str, Any]:
    """The example in a flow that gives it what it needs."""
    log = {"id": "log", "type": CORE + "log.Log", "message": "x"}
    flow: dict[str, Any] = {"id": "example", "namespace": "company.team", "tasks": [log]}
    if entry.kind in ("task", "flowable"):
        flow["tasks"] = [*([WRITE] if "outputs.file" in str(example) else []), example]
        if "inputs.file" in str(example):
            flow["inputs"] = [{"id": "file", "type": "FILE"}]
    elif entry.kind == "trigger":
        flow["triggers"] = [example]
    elif entry.kind == "condition":
        kind = (
            "trigger.Flow" if entry.short.rpartition(".")[2].startswith(("Execution", "Has", "Flow", "Multi")) else ""
        )
        trigger = {"id": "t", "type": CORE + (kind or "trigger.Schedule"), "conditions": [example]}
        if not kind:
            trigger["cron"] = "0 0 * * *"
        flow["triggers"] = [trigger]
    else:
        flow["tasks"] = [
            {"id": "s", "type": "io.kestra.plugin.scripts.shell.Script", "script": "true", "taskRunner": example}
        ]
    return flow


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.short)
def test_a_type_has_a_title_an_example_and_words_for_each_property_and_output(entry: TypeEntry) -> None:
    silent = [name for name, words in entry.described().items() if not words]
    silent += [name for name, words in entry.described(outputs=True).items() if not words]

    assert silent == []
    assert entry.cls.title.endswith(".")
    assert entry.examples


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.short)
def test_an_example_is_valid(entry: TypeEntry) -> None:
    for example in entry.examples:
        written = yaml.safe_load(example)
        reading = read_flow(yaml.safe_dump(flow_with(entry, written), sort_keys=False), CATALOG, strict=None)

        assert [problem.message for problem in reading.errors] == []
        assert CATALOG.resolve(written["type"]) is entry


CALLS = {"core.flow.Subflow"}
OUTSIDE = {
    "core.http.Request", "core.http.Download", "core.http.SseRequest",
    "core.execution.Resume", "core.execution.Kill", "core.trigger.Toggle",
    "core.flow.Template", "core.flow.ForEachItem", "core.flow.Pause", "core.flow.Approval",
}  # fmt: skip
"""Need a server, another execution, a file from outside or a person; they have tests of their own."""
RUN = [
    entry
    for entry in ENTRIES
    if entry.kind in ("task", "flowable")
    and entry.short not in OUTSIDE
    and (not entry.short.startswith("scripts.") or entry.short.split(".")[1] in ("shell", "python"))
]
ENDS = {"core.flow.AllowFailure": "WARNING", "core.execution.Exit": "WARNING"}


@pytest.fixture(scope="module")
def instance() -> Iterator[LocalInstance]:
    with LocalInstance() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("entry", RUN, ids=lambda entry: entry.short)
def test_an_example_runs(entry: TypeEntry, instance: LocalInstance, tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(
        "id: child\nnamespace: company.team\ninputs: [{id: city, type: STRING}]\n"
        "tasks: [{id: t, type: io.kestra.plugin.core.log.Log, message: x}]\n"
    )
    path = tmp_path / "example.yaml"
    path.write_text(yaml.safe_dump(flow_with(entry, yaml.safe_load(entry.examples[0])), sort_keys=False))
    others = [tmp_path / "child.yaml"] if entry.short in CALLS else []

    execution = instance.run(path, others=others)

    assert execution["state"]["current"] == ENDS.get(entry.short, "SUCCESS"), execution
