"""expressions.md 5: ids, random numbers, encryption, and the functions that reach out through the ports."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

import re

import pytest

from namespaces.expressions import NoPorts, render
from tests.namespaces.expressions.support import PlainPorts, fault, out


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("{{ uuid() }}", "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("{{ id() }}", "[0-9A-Za-z]{22}"),
        ("{{ ksuid() }}", "[0-9A-Za-z]{27}"),
        ("{{ nanoId() }}", "[0-9A-Za-z_-]{21}"),
        ("{{ nanoId(5, 'ab') }}", "[ab]{5}"),
        ("{{ nanoId(length=3) }}", ".{3}"),
        ("{{ randomInt(1, 4) }}", "[123]"),
        ("{{ randomInt(-10, -1) }}", "-([2-9]|10)"),
        ("{{ randomInt(7, 7) }}", "7"),
        ("{{ randomPort() }}", r"\d{4,5}"),
        ("{{ max(1, 2.5, -3) }}{{ min(1, 2.5, -3) }}", "2.5-3"),
        ("{{ range(0, 10, 5) }}{{ range(3, 1) }}{{ range(3, 1, -1) }}", r"\[0,5,10\]\[\]\[3,2,1\]"),
        ("{{ encrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', 'toto') }}", "[A-Za-z0-9+/]{43}="),
        ("{{ block('x') }}{{ parent() }}", ""),
    ],
)
def test_functions_without_the_server(template: str, pattern: str) -> None:
    assert re.fullmatch(pattern, out(template))


def test_ids_differ() -> None:
    assert len({out("{{ uuid() }}{{ id() }}{{ nanoId() }}{{ ksuid() }}") for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "template",
    [
        "{{ randomInt(2, 1) }}", "{{ randomInt('1', 2) }}", "{{ max() }}", "{{ max([1, 2]) }}", "{{ max('a', 'b') }}",
        "{{ range(1, 2, 0) }}", "{{ range('a', 'b') }}", "{{ nanoId(0) }}", "{{ nanoId(10000000) }}", "{{ encrypt('toto') }}",
        "{{ encrypt('bad key', 'x') }}", "{{ decrypt('I6EGNzRESu3X3pKZidrqCGOHQFUFC0yK', 'AAAA') }}", "{{ appLink('x') }}", "{{ credential('x') }}",
    ],
)  # fmt: skip
def test_what_functions_refuse(template: str) -> None:
    assert fault(template)


def test_secrets_are_asked_for_with_all_their_arguments() -> None:
    ports = PlainPorts(K="v")

    assert out("{{ secret('K') }}", ports) == "v"
    assert out("{{ secret('K', namespace='other', subkey='a') }}{{ secret('K', full=true) }}", ports) == "vv"
    assert ports.asked == [
        ("secret", "K", None, None, False), ("secret", "K", "other", "a", False), ("secret", "K", None, None, True),
    ]  # fmt: skip
    assert fault("{{ secret('X') }}", ports) == "Cannot find secret for key 'X'."
    assert "exclude each other" in fault("{{ secret('K', subkey='a', full=true) }}", ports)


def test_key_values_are_typed_and_missing_ones_may_be_null() -> None:
    ports = PlainPorts(a={"b": 1})

    assert out("{{ kv('a').b }}{{ kv('x', errorOnMissing=false) ?? 'd' }}{{ kv('a', 'ns') }}", ports) == '1d{"b":1}'
    assert ports.asked == [("kv", "a", None, True), ("kv", "x", None, False), ("kv", "a", "ns", True)]
    assert "does not exist" in fault("{{ kv('x') }}", ports)


def test_files_are_read_in_both_ways_of_naming_a_revision() -> None:
    ports = PlainPorts(**{"q.sql": "select 1", "e": ""})

    assert (
        out("{{ read('q.sql') }}{{ read('q.sql', version=2) }}{{ read('q.sql', 'ns', revision=3) }}", ports)
        == "select 1" * 3
    )
    assert [asked[2:] for asked in ports.asked] == [(None, None), (None, 2), ("ns", 3)]
    assert out("{{ fileURI('q.sql') }}", ports) == "kestra:///company/team/_files/q.sql"
    assert (
        out("{{ fileSize('q.sql') }}{{ fileExists('x') }}{{ isFileEmpty('e') }}{{ isFileEmpty('q.sql') }}", ports)
        == "8falsetruefalse"
    )
    assert "`..` is not allowed" in fault("{{ fileURI('../q.sql') }}", ports)


def test_environment_entries_have_defaults() -> None:
    ports = PlainPorts(a="x", empty="")

    assert out("{{ env('a') }}{{ env('b', 'd') }}{{ env('empty', 'e') }}", ports) == "xde"
    assert "there is no `b`" in fault("{{ env('b') }}", ports)


def test_requests_carry_their_defaults() -> None:
    ports = PlainPorts(http={"items": [1]})

    assert out("{{ http('https://x/y', headers={'a': 'b'}).items }}", ports) == "[1]"
    assert ports.asked == [("http", {
        "uri": "https://x/y", "method": "GET", "query": None, "body": None, "contentType": "application/json",
        "headers": {"a": "b"}, "options": None, "accept": "application/json",
    })]  # fmt: skip
    assert "headers must be a map" in fault("{{ http('https://x/y', headers='a') }}", ports)


def test_the_execution_is_asked_through_its_ports() -> None:
    ports = PlainPorts()

    assert out("{{ errorLogs()[0]['message'] }}{{ tasksWithState('FAILED')[0].taskId }}", ports) == "boomt"
    assert out("{{ subflow('ns', 'f', inputs={'a': 1}).outputs.a }}", ports) == "1"
    assert (
        out("{{ iterationOutput({'a': 1}, 0).value }}{{ iterationOutput({'a': 1}).value }}", ports)
        == "previousprevious"
    )
    assert ports.asked[1:] == [("iteration_output", {"a": 1}, 0), ("iteration_output", {"a": 1}, None)]


@pytest.mark.parametrize(
    "call", ["secret('a')", "kv('a')", "read('a')", "env('a')", "http('a')", "errorLogs()", "fileExists('a')"]
)
def test_without_an_execution_nothing_reaches_out(call: str) -> None:
    assert "is not available here" in fault(f"{{{{ {call} }}}}")


def test_current_each_output_follows_all_enclosing_values() -> None:
    context = {
        "outputs": {"t": {"a": {"1": {"value": "a1"}}}},
        "taskrun": {"value": "1"},
        "parents": [{"taskrun": {"value": "a"}, "outputs": {"x": 7}}, {"outputs": {}}],
    }

    assert render("{{ currentEachOutput(outputs.t).value }}", context, NoPorts()) == "a1"
    assert render("{{ parentOutput().x }}{{ parentOutput(0).x }}", context, NoPorts()) == "77"


def test_loop_outputs_keep_their_places() -> None:
    context = {"outputs": {"l": {"outputs": [{"outputs": {"a": 1}}, {"outputs": {}}, {"item": 1}, 5]}}}

    assert (
        render("{{ loopOutputs(outputs.l.outputs, 'a') }}{{ loopOutputs([], 'a') }}", context, NoPorts())
        == "[1,null,null,null][]"
    )
    assert "needs the list" in fault("{{ loopOutputs(plain, 'a') }}")
    assert fault("{{ loopOutputs(list, nul) }}")
    assert fault("{{ loopOutputs(list) }}")


def test_print_context_shows_everything_but_secrets() -> None:
    made = render("{{ printContext() }}", {"flow": {"id": "f"}, "secrets": {"a": "hidden"}}, NoPorts())

    assert made == '{\n  "flow": {\n    "id": "f"\n  }\n}'
