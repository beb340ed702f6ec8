"""A flow and what `lanner migrate` makes of it end alike and give the same outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from namespaces.flows.catalog import Catalog
from namespaces.flows.migration import SourceFile, Status, migrate
from service.cli.local import LocalInstance

pytestmark = pytest.mark.slow

CHILD = """\
id: child
namespace: company.team
inputs: [{id: part, type: FILE}, {id: number, type: INT}]
tasks:
  - {id: t, type: io.kestra.plugin.core.debug.Return, format: "{{ inputs.number }}:{{ read(inputs.part) | trim }}"}
outputs:
  - {id: said, type: STRING, value: "{{ outputs.t.value }}"}
"""
FLOWS = {
    "loops in loops": """\
id: old
namespace: company.team
tasks:
  - id: outer
    type: io.kestra.plugin.core.flow.ForEach
    values: [a, b]
    tasks:
      - id: say
        type: io.kestra.plugin.core.debug.Return
        format: "{{ taskrun.iteration }}{{ taskrun.value }}"
      - id: inner
        type: io.kestra.plugin.core.flow.EachSequential
        value: ["1", "2"]
        tasks:
          - id: check
            type: io.kestra.plugin.core.flow.If
            condition: "{{ taskrun.value == '1' }}"
            then:
              - id: both
                type: io.kestra.plugin.core.execution.Assert
                conditions:
                  - "{{ parent.taskrun.value == '1' and ['a', 'b'] contains parents[1].taskrun.value }}"
  - {id: after, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.say['b'].value }}"}
outputs:
  - {id: said, type: STRING, value: "{{ outputs.after.value }}"}
""",
    "all at once": """\
id: old
namespace: company.team
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.EachParallel
    value: [a, b]
    tasks:
      - {id: x, type: io.kestra.plugin.core.execution.Assert, conditions: ["{{ ['a', 'b'] contains taskrun.value }}"]}
      - {id: y, type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value }}"}
""",
    "batches with merged outputs": """\
id: old
namespace: company.team
tasks:
  - id: rows
    type: io.kestra.plugin.core.storage.Write
    content: |
      one
      two
      three
  - id: each
    type: io.kestra.plugin.core.flow.ForEachItem
    items: "{{ outputs.rows.uri }}"
    batch: {rows: 2}
    namespace: company.team
    flowId: child
    inputs: {part: "{{ taskrun.items }}", number: "{{ taskrun.iteration }}"}
  - {id: size, type: io.kestra.plugin.core.storage.Reverse, from: "{{ outputs.each_merge.subflowOutputs }}"}
""",
    "defaults, a pause, listeners": """\
id: old
namespace: company.team
pluginDefaults:
  - {type: io.kestra.plugin.core.debug, values: {format: "{{ flow.id }}"}}
tasks:
  - id: p
    type: io.kestra.plugin.core.flow.Pause
    delay: PT0.1S
    tasks:
      - {id: t, type: io.kestra.plugin.core.debug.Return, runIf: "{{ json('[1]') | json == '[1]' }}"}
listeners:
  - conditions: [{type: io.kestra.plugin.core.condition.ExecutionStatus, in: [SUCCESS]}]
    tasks: [{id: l, type: io.kestra.plugin.core.debug.Return}]
outputs:
  - {id: said, type: STRING, value: "{{ outputs.t.value }}"}
""",
    "a loop that fails": """\
id: old
namespace: company.team
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [a, b]
    tasks:
      - {id: x, type: io.kestra.plugin.core.execution.Fail, condition: "{{ taskrun.value == 'b' }}"}
""",
}


@pytest.fixture(scope="module")
def instance() -> Iterator[LocalInstance]:
    with LocalInstance() as made:
        yield made


@pytest.mark.parametrize("name", FLOWS)
def test_a_converted_flow_ends_as_the_old_one(name: str, instance: LocalInstance, tmp_path: Path) -> None:
    old = FLOWS[name]
    (outcome,) = migrate([SourceFile("old.yaml", old)], Catalog())
    (tmp_path / "child.yaml").write_text(CHILD)
    (tmp_path / "old.yaml").write_text(old)
    (tmp_path / "new.yaml").write_text(outcome.text.replace("id: old\n", "id: new\n", 1))

    before = instance.run(tmp_path / "old.yaml", others=[tmp_path / "child.yaml"])
    after = instance.run(tmp_path / "new.yaml")

    assert outcome.status is Status.CONVERTIBLE
    expected = "FAILED" if "fails" in name else "SUCCESS"
    assert (before["state"]["current"], after["state"]["current"]) == (expected, expected)
    said = {"loops in loops": {"said": "1b"}, "defaults, a pause, listeners": None}.get(name, {})
    if said is not None:
        assert (before.get("outputs") or {}) == (after.get("outputs") or {}) == said
