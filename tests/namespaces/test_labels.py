"""Labels: accepted forms, order, and what belongs to the server."""

from __future__ import annotations

import pytest

from namespaces.labels import as_map, read_labels, system_faults, upsert, without_system


@pytest.mark.parametrize(
    "written",
    [
        {"env": "prod", "n": 3, "on": True},
        [{"key": "env", "value": "prod"}, {"key": "n", "value": 3}, {"key": "on", "value": True}],
    ],
)
def test_maps_and_lists_give_the_same_pairs_of_text(written: object) -> None:
    assert read_labels(written) == ((("env", "prod"), ("n", "3"), ("on", "true")), [])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("env=prod", "labels must be a map"),
        ({"a": {"b": 1}}, "value of label 'a' must be text"),
        ({"a": None}, "value of label 'a' must not be empty"),
        ({"": "x"}, "label key must not be empty"),
        ([{"key": "a", "value": "b", "x": 1}], "a label must be a map with 'key' and 'value'"),
        (["a"], "a label must be a map"),
    ],
)
def test_what_is_no_label_is_a_fault(written: object, said: str) -> None:
    _, faults = read_labels(written)

    assert [fault.message.startswith(said) for fault in faults] == [True]


def test_the_first_of_two_values_is_what_expressions_see_and_the_last_what_a_change_leaves() -> None:
    pairs, _ = read_labels([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}, {"key": "b", "value": "3"}])

    assert as_map(pairs) == {"a": "1", "b": "3"}
    assert upsert(pairs, (("a", "8"), ("c", "9"), ("a", "7"))) == (("a", "7"), ("b", "3"), ("c", "9"))


def test_system_labels_are_the_servers_but_for_read_only_on_a_flow() -> None:
    pairs = (("system.readOnly", "true"), ("system.x", "y"), ("a", "b"))

    assert [f.message for f in system_faults(pairs, of_flow=True)] == [
        "System labels can only be set by Kestra itself, offending label: system.x=y"
    ]
    assert len(system_faults(pairs)) == 2
    assert without_system(pairs) == (("a", "b"),)


def test_a_key_that_newer_kestra_refuses_is_only_a_warning() -> None:
    pairs, faults = read_labels({"Team": "x", "équipe": "y"})

    assert len(pairs) == 2
    assert [(fault.place, fault.warning) for fault in faults] == [("Team", True)]
