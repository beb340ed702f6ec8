"""Inputs: every type from text and from native values, defaults, conditions, and all faults at once."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import pytest

from namespaces.errors import InvalidInput, LannerError
from namespaces.expressions import NoPorts
from namespaces.expressions import render as render_text
from namespaces.expressions import render_typed as render_any
from namespaces.flows.catalog import Catalog
from namespaces.flows.model import FlowOutput
from namespaces.flows.parse import read_flow
from namespaces.inputs import Resolved, Upload, convert_output, resolve_inputs

CATALOG = Catalog()


def render(text: str, inputs: Mapping[str, Any]) -> str:
    return render_text(text, {"inputs": inputs, "vars": {"region": "eu"}}, NoPorts())


def render_typed(text: str, inputs: Mapping[str, Any]) -> Any:
    return render_any(text, {"inputs": inputs, "vars": {"choices": ["a", None, 2]}}, NoPorts())


def resolve(inputs: str, submitted: Mapping[str, Any] | None = None, **given: Any) -> Resolved:
    body = textwrap.indent(textwrap.dedent(inputs), "  ")
    text = f"id: f\nnamespace: n\ninputs:\n{body}\ntasks:\n  - {{id: t, type: core.log.Log, message: x}}\n"
    reading = read_flow(text, CATALOG)
    assert reading.flow is not None, reading.problems
    return resolve_inputs(reading.flow.inputs, submitted or {}, render=render, render_typed=render_typed, **given)


def messages(resolved: Resolved) -> list[str]:
    return [problem.message for problem in resolved.problems]


@pytest.mark.parametrize(
    ("kind", "submitted", "value"),
    [
        ("STRING", "text", "text"),
        ("STRING", 5, "5"),
        ("STRING", True, "true"),
        ("STRING", "", ""),
        ("INT", "42", 42),
        ("INT", 42, 42),
        ("INT", "-0", 0),
        ("INT", 42.0, 42),
        ("FLOAT", "42.42", 42.42),
        ("FLOAT", 3, 3.0),
        ("FLOAT", "1e3", 1000.0),
        ("BOOL", "true", True),
        ("BOOL", False, False),
        ("BOOLEAN", "TRUE", True),
        ("BOOLEAN", "yes", False),
        ("DATETIME", "2019-10-06T18:27:49Z", "2019-10-06T18:27:49Z"),
        ("DATETIME", "2019-10-06T20:27:49.5+02:00", "2019-10-06T18:27:49.500Z"),
        ("DATE", "2024-02-29", "2024-02-29"),
        ("TIME", "10:15", "10:15:00"),
        ("TIME", "18:27:49", "18:27:49"),
        ("DURATION", "PT5M6S", 306.0),
        ("DURATION", 90, 90.0),
        ("JSON", '{"a": [1]}', {"a": [1]}),
        ("JSON", {"a": 1}, {"a": 1}),
        ("JSON", "{}", {}),
        ("YAML", "some: property\nalist:\n- of\n- values", {"some": "property", "alist": ["of", "values"]}),
        ("URI", "https://www.google.com", "https://www.google.com"),
        ("URI", "http:/bla", "http:/bla"),
        ("EMAIL", "", ""),
        ("EMAIL", "a.b@example.org", "a.b@example.org"),
        ("SECRET", "s3cret", "s3cret"),
        ("ION", "{a: 1}", {"a": 1}),
    ],
)
def test_a_value_is_converted_to_the_declared_type(kind: str, submitted: Any, value: Any) -> None:
    resolved = resolve(f"- {{id: x, type: {kind}}}", {"x": submitted})

    assert messages(resolved) == []
    assert resolved.values == {"x": value}
    assert type(resolved.values["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "submitted", "said"),
    [
        ("INT", "1.0", "valid integer"),
        ("INT", "0x10", "valid integer"),
        ("INT", str(2**63), "valid integer"),
        ("INT", "٣", "valid integer"),
        ("INT", True, "valid integer"),
        ("FLOAT", "1e400", "finite"),
        ("FLOAT", "nan", "finite"),
        ("BOOL", "maybe", "true or false"),
        ("DATETIME", "2019-10-06T18:27:49", "valid date-time"),
        ("DATE", "2024-02-30", "valid date"),
        ("DATE", "2024-13-45", "valid date"),
        ("TIME", "25:00:00", "valid time"),
        ("DURATION", "-PT1S", "negative"),
        ("DURATION", "P1M", "not a duration"),
        ("JSON", "{", "valid JSON"),
        ("JSON", '{"a": 1, "a": 2}', "duplicate key 'a'"),
        ("JSON", "NaN", "NaN is not"),
        ("JSON", "[" * 5_000, "nesting deeper"),
        ("YAML", "a: [", "valid YAML"),
        ("YAML", "a: 1\na: 2", "duplicate key"),
        ("URI", "no scheme", "valid URI"),
        ("URI", "javascript:alert(1)", "not allowed"),
        ("EMAIL", "nobody", "The input must be a valid email"),
        ("STRING", {"a": 1}, "must be text"),
        ("STRING", "x" * (1024 * 1024 + 1), "longer than 1 MiB"),
        ("FILE", "/etc/passwd", "upload a file"),
        ("FILE", {"path": "/etc/passwd"}, "upload a file"),
        ("FILE", "file:///etc/passwd", "upload a file"),
        ("FILE", "kestra:///a/../../b", "upload a file"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_reason(kind: str, submitted: Any, said: str) -> None:
    resolved = resolve(f"- {{id: x, type: {kind}}}", {"x": submitted})

    assert len(resolved.problems) == 1
    assert messages(resolved)[0].startswith("Invalid value for input `x`. Cause: ")
    assert said in messages(resolved)[0]


def test_all_faults_are_told_at_once_one_line_each() -> None:
    resolved = resolve(
        """
        - {id: a, type: INT}
        - {id: b, type: FLOAT, min: 0.1, max: 0.5}
        - {id: c, type: SELECT, values: [A, B, C]}
        - {id: d, type: DATETIME, after: "2023-01-01T00:00:00Z"}
        """,
        {"b": "1.01", "c": "F", "d": "2022-01-01T00:00:00Z"},
    )

    assert messages(resolved) == [
        "Invalid value for input `a`. Cause: missing required input",
        "Invalid value for input `b`. Cause: it must be less than `0.5`",
        "Invalid value for input `c`. Cause: value `F` doesn't match the values `[A, B, C]`",
        "Invalid value for input `d`. Cause: it must be after `2023-01-01T00:00:00Z`",
    ]
    with pytest.raises(InvalidInput, match="missing required input\nInvalid value"):
        resolved.require()


def test_bounds_are_inclusive() -> None:
    declared = """
    - {id: i, type: INT, min: 5, max: 5}
    - {id: d, type: DURATION, min: PT10S, max: PT10S}
    - {id: t, type: TIME, after: "01:00:00", before: "01:00:00"}
    """

    assert messages(resolve(declared, {"i": "5", "d": "PT10S", "t": "01:00:00"})) == []


def test_an_optional_input_without_a_value_is_null_and_an_unknown_one_is_ignored() -> None:
    resolved = resolve("- {id: x, type: INT, required: false}", {"zzz": "1"})

    assert resolved.values == {"x": None}
    assert resolved.ignored == ("zzz",)


def test_dotted_ids_are_nested_and_may_be_submitted_flat_or_nested() -> None:
    declared = "- {id: db.host, type: STRING}\n- {id: db.port, type: INT, defaults: 5432}"

    for submitted in ({"db.host": "h"}, {"db": {"host": "h"}}):
        assert resolve(declared, submitted).values == {"db": {"host": "h", "port": 5432}}


def test_defaults_are_expressions_over_the_inputs_before() -> None:
    resolved = resolve(
        """
        - {id: env, type: STRING, defaults: dev}
        - {id: url, type: URI, defaults: "https://{{ inputs.env }}.{{ vars.region }}"}
        - {id: n, type: INT, defaults: "{{ 1 + 1 }}"}
        - {id: list, type: ARRAY, itemType: STRING, defaults: ["{{ inputs.env }}", x]}
        - {id: empty, type: STRING, defaults: ''}
        """
    )

    assert resolved.values == {"env": "dev", "url": "https://dev.eu", "n": 2, "list": ["dev", "x"], "empty": ""}
    assert all(state.is_default for state in resolved.details)


def test_a_default_that_cannot_be_rendered_is_a_fault_of_that_input() -> None:
    resolved = resolve("- {id: x, type: STRING, defaults: '{{ execution.id }}'}\n- {id: y, type: INT}", {"y": 1})

    assert [problem.path for problem in resolved.problems] == ["inputs.x"]


def test_an_input_whose_condition_does_not_hold_is_absent_even_when_it_was_sent() -> None:
    declared = """
    - {id: env, type: SELECT, values: [dev, prod], defaults: dev}
    - {id: approver, type: EMAIL, dependsOn: {inputs: [env], condition: "{{ inputs.env == 'prod' }}"}}
    - {id: second, type: STRING, dependsOn: {inputs: [approver]}}
    """

    assert resolve(declared, {"approver": "a@b.c"}).values == {"env": "dev"}
    assert messages(resolve(declared, {"env": "prod"})) == [
        "Invalid value for input `approver`. Cause: missing required input",
        "Invalid value for input `second`. Cause: missing required input",
    ]


def test_a_condition_that_renders_the_text_true_is_not_enough() -> None:
    declared = "- {id: a, type: STRING, defaults: x, dependsOn: {condition: \"{{ 'true' }}\"}}"

    assert resolve(declared).values == {}


def test_dependencies_are_resolved_first_whatever_the_order() -> None:
    declared = """
    - {id: late, type: STRING, defaults: "{{ inputs.early }}!", dependsOn: {inputs: [early]}}
    - {id: early, type: STRING, defaults: now}
    """

    assert resolve(declared).values == {"late": "now!", "early": "now"}


def test_choices_may_come_from_an_expression_and_select_the_first() -> None:
    resolved = resolve('- {id: c, type: SELECT, expression: "{{ vars.choices }}", autoSelectFirst: true}')

    assert resolved.details[0].choices == ("a", "2")
    assert resolved.values == {"c": "a"}


def test_a_custom_or_optional_choice_is_not_checked() -> None:
    assert resolve("- {id: c, type: SELECT, values: [a], allowCustomValue: true}", {"c": "z"}).values == {"c": "z"}
    assert resolve("- {id: c, type: SELECT, values: [a], required: false}", {"c": "z"}).values == {"c": "z"}


def test_a_multiselect_takes_lists_and_json_text() -> None:
    declared = "- {id: m, type: MULTISELECT, values: [a, b]}"

    assert resolve(declared, {"m": ["a"]}).values == resolve(declared, {"m": '["a"]'}).values == {"m": ["a"]}
    assert "value `z` doesn't match the values `[a, b]`" in messages(resolve(declared, {"m": ["a", "z"]}))[0]


def test_items_of_an_array_are_converted_and_each_bad_one_is_told() -> None:
    declared = "- {id: a, type: ARRAY, itemType: INT}"

    assert resolve(declared, {"a": "[1, 2, 3]"}).values == {"a": [1, 2, 3]}
    assert messages(resolve(declared, {"a": ["1", "x", "y"]})) == [
        "Invalid value for input `a[1]`. Cause: `x` is not a valid integer",
        "Invalid value for input `a[2]`. Cause: `y` is not a valid integer",
    ]


def test_the_parts_of_a_form_are_inputs_of_their_own() -> None:
    declared = """
    - id: env
      type: FORM
      inputs:
        - {id: region, type: STRING}
        - {id: size, type: INT, defaults: 3}
    - {id: key, type: STRING, dependsOn: {inputs: [env.region]}}
    """

    assert resolve(declared, {"env.region": "EU", "key": "k"}).values == {
        "env": {"region": "EU", "size": 3},
        "key": "k",
    }
    assert messages(resolve(declared, {"key": "k"})) == [
        "Invalid value for input `env.region`. Cause: missing required input"
    ]


def test_objects_and_tables_are_typed_in_every_part() -> None:
    declared = """
    - id: app
      type: OBJECT
      properties: [{id: name, type: STRING}, {id: replicas, type: INT, min: 1}]
    - id: disks
      type: TABLE
      rows: {min: 2}
      columns: [{id: size_gb, type: INT, min: 10}, {id: mountpoint, type: STRING}]
    """
    good = {
        "app": {"name": "web", "replicas": "3"},
        "disks": '[{"size_gb": "10", "mountpoint": "/a"}, {"size_gb": 20, "mountpoint": "/b"}]',
    }

    assert resolve(declared, good).values == {
        "app": {"name": "web", "replicas": 3},
        "disks": [{"size_gb": 10, "mountpoint": "/a"}, {"size_gb": 20, "mountpoint": "/b"}],
    }
    assert messages(resolve(declared, {"app": {"name": "w", "replicas": 0}, "disks": [{"size_gb": 1}]})) == [
        "Invalid value for input `app.replicas`. Cause: it must be more than `1`",
        "Invalid value for input `disks`. Cause: it must have at least 2 row(s)",
        "Invalid value for input `disks[0].size_gb`. Cause: it must be more than `10`",
        "Invalid value for input `disks[0].mountpoint`. Cause: missing required input",
    ]


def test_an_uploaded_file_is_stored_and_its_uri_is_the_value() -> None:
    stored: list[tuple[str, str]] = []

    def store(name: str, upload: Upload) -> str:
        stored.append((name, upload.filename))
        return f"kestra:///files/{upload.filename}"

    declared = "- {id: f, type: FILE, allowedFileExtensions: [.csv]}"
    good = resolve(declared, {"f": Upload("A.CSV", 3)}, store_file=store)

    assert good.values == good.plain == {"f": "kestra:///files/A.CSV"}
    assert stored == [("f", "A.CSV")]
    assert "is empty" in messages(resolve(declared, {"f": Upload("a.csv", 0)}, store_file=store))[0]
    assert "extensions `[.csv]`" in messages(resolve(declared, {"f": Upload("a.txt", 1)}, store_file=store))[0]
    assert len(stored) == 1


def test_a_secret_is_encrypted_for_the_store_and_plain_for_expressions() -> None:
    declared = "- {id: s, type: SECRET}\n- {id: t, type: STRING, defaults: '{{ inputs.s }}!'}"
    resolved = resolve(declared, {"s": "token"}, encrypt=lambda text: {"sealed": text[::-1]})

    assert resolved.values == {"s": {"sealed": "nekot"}, "t": "token!"}
    assert resolved.plain["s"] == "token"
    assert resolved.secrets == {"s"}


def test_a_secret_without_a_key_is_refused_in_kestras_words() -> None:
    def no_key(_text: str) -> Any:
        raise LannerError("Unable to use a `SECRET` input/output as encryption is not configured")

    resolved = resolve("- {id: s, type: SECRET}", {"s": "token"}, encrypt=no_key)

    assert "encryption is not configured" in messages(resolved)[0]


def test_a_validator_must_match_the_whole_text() -> None:
    declared = r"- {id: v, type: STRING, validator: 'A\d+'}"

    assert resolve(declared, {"v": "A123"}).values == {"v": "A123"}
    assert messages(resolve(declared, {"v": "xA1"})) == [
        r"Invalid value for input `v`. Cause: it must match the pattern `A\d+`"
    ]


@pytest.mark.parametrize(
    ("kind", "rendered", "value"),
    [
        ("STRING", "x", "x"),
        ("STRING", [1], "[1]"),
        ("INT", "3", 3),
        ("BOOL", "true", True),
        ("JSON", {"a": 1}, {"a": 1}),
        ("DURATION", "PT1S", 1.0),
    ],
)
def test_outputs_are_converted_as_inputs_are(kind: str, rendered: Any, value: Any) -> None:
    assert convert_output(FlowOutput(id="o", type=kind, value="{{ … }}"), rendered) == value


def test_an_output_that_does_not_fit_is_an_error_naming_it() -> None:
    with pytest.raises(InvalidInput, match="output for `o`, `x` is not a valid integer"):
        convert_output(FlowOutput(id="o", type="INT", value=""), "x")
    with pytest.raises(InvalidInput, match="required but has no value"):
        convert_output(FlowOutput(id="o", type="INT", value=""), None)
    assert convert_output(FlowOutput(id="o", type="INT", value="", required=False), None) is None
