"""Reading YAML: Kestra's meaning of scalars, bounds, positions; never an exception because of the content."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.errors import Severity
from namespaces.flows.reader import read_yaml


def only(data: str | bytes) -> tuple[str, str, int, int]:
    document = read_yaml(data)
    errors = [p for p in document.problems if p.severity is Severity.ERROR]
    assert len(errors) == 1, document.problems
    return errors[0].code, errors[0].message, errors[0].line, errors[0].column


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("no", "no"),
        ("null", None),
        ("~", None),
        ("", None),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("-0", "-0"),
        ("010", "010"),
        ("0755", "0755"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("+5", "+5"),
        ("9223372036854775807", 9223372036854775807),
        ("99999999999999999999", "99999999999999999999"),
        ("1.5", 1.5),
        ("1e400", "1e400"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("12:30:45", "12:30:45"),
        ("1:30", "1:30"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("=", "="),
    ],
)
def test_scalars_mean_what_kestras_reader_makes_of_them(written: str, value: Any) -> None:
    document = read_yaml(f"x: {written}\n")

    assert document.ok
    assert document.value == {"x": value}
    assert type(document.value["x"]) is type(value)


def test_the_document_knows_how_a_scalar_was_written() -> None:
    document = read_yaml("version: 1.10\nlist: [&x TRUE, *x, 1.0, 5]\n")

    assert document.value == {"version": 1.1, "list": [True, True, 1.0, 5]}
    assert type(document.value["version"]) is float
    assert document.text_at(("version",), 1.1) == "1.10"
    assert [document.text_at(("list", n), v) for n, v in enumerate(document.value["list"])] == [
        "TRUE",
        "TRUE",
        "1.0",
        "5",
    ]
    assert document.text_at(("version",), 2.5) == "2.5"


def test_keys_are_always_text() -> None:
    assert read_yaml("on: a\n1: b\ntrue: c\nnull: d\n1.0: e\n").value == {
        "on": "a",
        "1": "b",
        "true": "c",
        "null": "d",
        "1.0": "e",
    }


def test_json_is_read_too() -> None:
    assert read_yaml('{"id": "a",\n\t"tasks": [{"x": null}]}').value == {"id": "a", "tasks": [{"x": None}]}


def test_a_json_flow_may_write_one_character_as_two_escapes() -> None:
    assert read_yaml('{"a": "\\ud83d\\ude80", "b": "\\\\ud83d"}').value == {"a": "🚀", "b": "\\ud83d"}


def test_anchors_aliases_and_merge_keys_work() -> None:
    document = read_yaml(
        """
        base: &base {retry: 1, level: low}
        other: &other {level: high, extra: yes}
        a:
          <<: *base
          retry: 2
        b:
          <<: [*base, *other]
        c: [*base, *other]
        k: &k name
        *k : v
        """
    )

    assert document.ok
    assert document.value["a"] == {"retry": 2, "level": "low"}
    assert document.value["b"] == {"retry": 1, "level": "low", "extra": "yes"}
    assert document.value["c"][1]["level"] == "high"
    assert document.value["name"] == "v"


def chain(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n  k{n}: 1" for n in range(1, levels)]
    return "\n".join(lines)


def thin_chain(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n}\n  <<: *a{n - 1}" for n in range(1, levels)]
    return "\n".join(lines)


def bomb() -> str:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    names = "abcdefghij"
    lines += [f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise(names)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("data", "code", "said", "line"),
    [
        ("[" * 40_000, "G006", "nesting deeper than 64", 1),
        ("a:\n" + "".join(" " * n + "- \n" for n in range(1, 70)) + " " * 70 + "- x", "G006", "nesting deeper", 65),
        (bomb(), "G006", "expands to more than 100,000 nodes", 0),
        (chain(19), "G006", "expands to more than 100,000 nodes", 0),
        (chain(23), "G006", "", 0),
        (thin_chain(25), "G006", "more than 20 levels of merge keys", 0),
        ("a: &x [*x]", "G006", "recursive alias", 1),
        ("a: &x\n  b: *x", "G006", "recursive alias", 2),
        ("x: 1\na: *nope", "G001", "undefined alias", 2),
        ("a: !!python/object/apply:os.system [id]", "G005", "tag not allowed", 1),
        ("a: !Foo bar", "G005", "tag not allowed: !Foo", 1),
        ("a: !!binary aGk=", "G005", "tag not allowed: !!binary", 1),
        ("a: !!set {x}", "G005", "tag not allowed: !!set", 1),
        ("a: !!timestamp 2020-01-01", "G005", "tag not allowed", 1),
        ("a: !!int x", "G004", "is not a !!int", 1),
        ("a: 1\n---\nb: 2", "G014", "one flow per file", 2),
        ("a:\n\t- x", "G001", "cannot start any token", 2),
        ("a: b: c", "G001", "mapping values are not allowed", 1),
        ("a: [1, 2", "G001", "", 0),
        ('a: "\\uD800"', "G002", "invalid Unicode character", 1),
        (b"id: x\nname: caf\xe9\n", "G002", "byte 0xe9 at position 15", 2),
        (b"\xff\xfei\x00d\x00", "G002", "UTF-16", 1),
        ("id: x\nb: \x00", "G002", "U+0000", 2),
        ("b: \x1b[31m", "G002", "U+001B", 1),
        ("a: \ud800", "G002", "lone surrogate", 0),
        ("[a]: b", "G001", "keys must be text", 1),
        ("? {a: b}\n: c", "G001", "keys must be text", 1),
        ("<<: 5", "G001", "merge key", 1),
        ("x: " + "a" * (1024 * 1024 + 1), "G006", "larger than 1 MiB", 0),
        ("- a\n" * 100_001, "G006", "expands to more than 100,000 nodes", 0),
        ("a: &a 1\nb: [" + "*a," * 1_001 + "]", "G006", "more than 1,000 aliases", 2),
        ("".join(f"k{n}: 1\n" for n in range(20_001)), "G006", "more than 20,000 keys", 20_001),
    ],
)
def test_what_must_not_be_read_is_one_finding_with_its_place(
    data: str | bytes, code: str, said: str, line: int
) -> None:
    seen = only(data)

    assert seen[0] == code
    assert said in seen[1]
    if line:
        assert seen[2] == line


def test_aliases_count_into_the_nesting() -> None:
    deep = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40

    assert only(deep)[:2] == ("G006", "nesting deeper than 64 at line 2")


def test_every_duplicate_key_is_told_with_both_lines() -> None:
    document = read_yaml("id: a\ntasks:\n  - x: 1\n    y: 2\n    x: 3\nid: b\n")

    assert [(p.code, p.message, p.path, p.line, p.column) for p in document.problems] == [
        ("G003", "duplicate key 'x' (lines 3, 5)", "tasks[0].x", 5, 5),
        ("G003", "duplicate key 'id' (lines 1, 6)", "id", 6, 1),
    ]
    assert not document.ok


@pytest.mark.parametrize("data", ["", "# only a comment\n", "---\n", "--- # x\n"])
def test_a_file_without_content_is_a_warning(data: str) -> None:
    document = read_yaml(data)

    assert document.value is None
    if data.startswith("---"):
        return  # an explicit document holds null
    assert [(p.code, p.severity) for p in document.problems] == [("G102", Severity.WARNING)]


def test_a_byte_order_mark_is_dropped_with_a_warning_and_crlf_is_fine() -> None:
    document = read_yaml(b"\xef\xbb\xbfid: a\r\ntasks:\r\n  - x\r\n")

    assert document.value == {"id": "a", "tasks": ["x"]}
    assert [p.code for p in document.problems] == ["G103"]
    assert document.ok


def test_positions_are_of_keys_and_items_and_fall_back_to_what_exists() -> None:
    document = read_yaml("id: a\n\ntasks:\n  - id: x\n    type: y\n  -\n    id: z\n    list: [1, {k: v}]\n")

    assert document.position(("tasks",)) == (3, 1)
    assert document.position(("tasks", 0)) == (4, 5)
    assert document.position(("tasks", 0, "type")) == (5, 5)
    assert document.position(("tasks", 1, "id")) == (7, 5)
    assert document.position(("tasks", 1, "list", 1, "k")) == (8, 16)
    assert document.position(("tasks", 1, "missing", "x")) == (7, 5)
    assert document.position(("nothing",)) == (1, 1)


def test_what_stands_behind_an_alias_has_the_place_of_the_alias() -> None:
    document = read_yaml("a: &a {x: 1}\nb:\n  c: *a\n")

    assert document.position(("b", "c", "x")) == (3, 3)


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    document = read_yaml(text)

    assert document.ok or document.problems


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    read_yaml(data)


_YAML_BITS = st.sampled_from(
    [
        "a: ",
        "- ",
        "&x ",
        "*x",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "  ",
        "!!",
        "|",
        ">",
        "'",
        '"',
        "? ",
        ": ",
        "#",
        "---",
        "1",
        ",",
    ]
)


@given(st.lists(_YAML_BITS, max_size=40))
def test_no_heap_of_yaml_marks_makes_the_reader_raise(bits: list[str]) -> None:
    document = read_yaml("".join(bits))

    document.position(("a", 0))
