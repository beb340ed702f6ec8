"""An invalid file keeps its last good version and holds back its unit only: T08 to T12, T44 to T46, G6."""

from __future__ import annotations

import pytest

from sync.model import State
from tests.sync.conftest import World, at, calls, flow

BROKEN = "id: a\nnamespace: company.a\ntasks:\n  - id: x\n   type: y\n"


def test_a_syntax_error_holds_its_namespace_with_line_and_column(any_world: World) -> None:
    world = any_world
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.a", "b"): flow("b", "company.a")})
    good = world.text("company.a", "a")

    run = world.synced({at("company.a", "a"): BROKEN, at("company.a", "b"): flow("b", "company.a", "new")})

    assert run.outcome == "degraded"
    (broken,) = [r for r in world.results(run) if r.severity == "error" and r.code == "G001"]
    assert (broken.path, broken.line, broken.column, broken.action) == (at("company.a", "a"), 5, 4, "invalid")
    assert world.text("company.a", "a") == good
    assert world.flows() == {"company.a.a": 1, "company.a.b": 1}
    assert world.status.state is State.DEGRADED
    assert world.status.message == "2 files are kept at their last good version"
    held = {item.path for item in world.service.items("data", "held")}
    assert held == {at("company.a", "a"), at("company.a", "b")}


def test_one_held_file_is_told_in_the_singular(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a")})

    world.synced({at("company.a", "a"): BROKEN})

    assert world.status.message == "1 file is kept at its last good version"


def test_a_fix_releases_what_was_held_and_says_so_once(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.a", "b"): flow("b", "company.a")})
    world.synced({at("company.a", "a"): BROKEN, at("company.a", "b"): flow("b", "company.a", "new")})

    world.synced({at("company.a", "a"): flow("a", "company.a", "fixed")})
    world.synced({"README": "x"})

    assert world.flows() == {"company.a.a": 2, "company.a.b": 2}
    assert world.status.state is State.SYNCED
    assert world.events().count("git.degraded") == 1
    assert world.events().count("git.recovered") == 1
    assert world.service.items("data", "held") == ()


def test_one_broken_namespace_does_not_hold_back_another(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.b", "b"): flow("b", "company.b")})

    run = world.synced({at("company.a", "a"): BROKEN, at("company.b", "b"): flow("b", "company.b", "new")})

    assert world.flows() == {"company.a.a": 1, "company.b.b": 2}
    assert dict(run.counts) == {"invalid": 1, "update": 1}
    assert world.status.applied_commit == world.repo.head


def test_a_held_namespace_keeps_flows_that_the_commit_deletes(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.a", "b"): flow("b", "company.a")})

    world.synced({at("company.a", "a"): BROKEN, at("company.a", "b"): None})

    assert world.flows() == {"company.a.a": 1, "company.a.b": 1}


def test_a_caller_of_a_held_new_subflow_is_held_too(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.b", "b"): flow("b", "company.b")})

    run = world.synced(
        {
            at("company.a", "a"): BROKEN,
            at("company.a", "new"): flow("new", "company.a"),
            at("company.b", "b"): calls("b", "company.b", "company.a", "new"),
        }
    )

    assert world.flows() == {"company.a.a": 1, "company.b.b": 1}
    (held,) = [r for r in world.results(run) if r.path == at("company.b", "b")]
    assert (held.action, held.code) == ("held", "G061")


def test_a_flow_that_moves_between_namespaces_never_exists_twice(world: World) -> None:
    world.synced({at("company.a", "x"): flow("x", None), at("company.a", "a"): flow("a", "company.a"),
                  at("company.b", "b"): flow("b", "company.b")})  # fmt: skip

    world.synced(
        {
            at("company.a", "x"): None,
            at("company.b", "x"): flow("x", None),
            at("company.a", "a"): BROKEN,
            at("company.b", "b"): flow("b", "company.b", "new"),
        }
    )
    held = world.flows()
    world.synced({at("company.a", "a"): flow("a", "company.a", "fixed")})

    assert held == {"company.a.a": 1, "company.a.x": 1, "company.b.b": 1}
    assert world.flows() == {"company.a.a": 2, "company.b.b": 2, "company.b.x": 1}
    assert world.status.state is State.SYNCED


def test_atomicity_commit_applies_nothing_of_an_invalid_commit(any_world: World) -> None:
    world = any_world.policy(atomicity="commit")
    first = world.push({at("company.a", "a"): flow("a", "company.a"), at("company.b", "b"): flow("b", "company.b")})
    world.sync()

    run = world.synced({at("company.a", "a"): BROKEN, at("company.b", "b"): flow("b", "company.b", "new")})

    assert run.outcome == "invalid"
    assert world.flows() == {"company.a.a": 1, "company.b.b": 1}
    status = world.status
    assert (status.state, status.reason, status.applied_commit) == (State.DEGRADED, "Invalid", first)
    world.synced({at("company.a", "a"): flow("a", "company.a", "fixed")})
    assert world.flows() == {"company.a.a": 2, "company.b.b": 2}
    assert world.status.state is State.SYNCED


def test_atomicity_file_holds_the_bad_file_only(world: World) -> None:
    world.policy(atomicity="file")
    world.synced({at("company.a", "a"): flow("a", "company.a"), at("company.a", "b"): flow("b", "company.a")})

    world.synced({at("company.a", "a"): BROKEN, at("company.a", "b"): flow("b", "company.a", "new")})

    assert world.flows() == {"company.a.a": 1, "company.a.b": 2}
    assert [item.path for item in world.service.items("data", "held")] == [at("company.a", "a")]


def test_a_source_of_every_namespace_only_warns_of_a_call_into_one_it_has_no_flow_in(world: World) -> None:
    run = world.synced({at("company.a", "a"): calls("a", "company.a", "company.empty", "other")})

    assert world.flows() == {"company.a.a": 1}
    assert [(r.code, r.severity) for r in world.results(run) if r.code] == [("G060", "warning")]


def test_a_missing_subflow_of_the_source_is_an_error_and_of_another_one_a_warning(world: World) -> None:
    run = world.synced(
        {
            at("company.a", "a"): calls("a", "company.a", "company.a", "nowhere"),
            at("company.b", "b"): calls("b", "company.b", "elsewhere", "other"),
        }
    )

    assert world.flows() == {"company.b.b": 1}
    assert world.codes(run) == {at("company.a", "a"): ("G060", 1)}
    assert [r.severity for r in world.results(run) if r.path == at("company.b", "b") and r.code] == ["warning"]


def test_a_file_for_a_foreign_namespace_is_refused_and_audited(any_world: World) -> None:
    world = any_world
    run = world.synced({at("company.a", "a"): flow("a", "company.a"), at("foreign", "x"): flow("x", "foreign")})
    world.synced({at("company.a", "a"): flow("a", "company.a", "new")})

    assert world.flows() == {"company.a.a": 2}
    assert world.codes(run) == {at("foreign", "x"): ("G040", 1)}
    assert world.audited().count("git.forbidden") == 1
    assert world.events().count("git.forbidden") == 1


@pytest.mark.parametrize(("namespace", "allowed"), [("system", False), ("preview.x", False), ("other.x", True)])
def test_wildcards_never_cover_the_reserved_roots(world: World, namespace: str, allowed: bool) -> None:
    world.configure(namespaces=["**"])

    world.synced({at(namespace, "x"): flow("x", namespace)})

    assert bool(world.flows()) is allowed


def test_of_two_sources_the_first_owner_keeps_a_flow(any_world: World) -> None:
    world = any_world.configure(layout="flat", namespaces=["company.**"])
    other = {**world.config, "name": "other", "path": "two", "namespaces": ["company.data.*", "company.data"]}
    world.configure(path="one", deny=["company.data.**"])
    world.push({"one/a.yaml": flow("a", "company.x"), "two/b.yaml": flow("b", "company.data")})
    first = world.make(world.config)
    first.sync_now("data")
    # The allow list of `other` grows until it covers a namespace in which `data` owns a flow already.
    wider = {**other, "namespaces": ["company.data", "company.x"]}
    second = world.make(world.config, wider)

    world.push({"two/a.yaml": flow("a", "company.x", "stolen")})
    run = second.sync_now("other")

    assert run is not None
    assert {r.code for r in second.results(run.id) if r.severity == "error"} == {"G013"}
    assert world.flows("data") == {"company.x.a": 1}
    assert world.flows("other") == {"company.data.b": 1}
    # Removing a source deletes nothing.
    third = world.make(wider)
    assert {s.name: s.state for s in third.list()}["data"] == "Released"
    assert world.flows("data") == {"company.x.a": 1}


def test_a_released_flow_is_adopted_without_a_new_revision(world: World) -> None:
    world.synced({at("company.a", "a"): flow("a", "company.a")})
    renamed = {**world.config, "name": "again", "apply": {"adopt": True}}

    service = world.make(renamed)
    run = service.sync_now("again")

    assert run is not None
    assert world.flows("again") == {"company.a.a": 1}
    assert world.flows("data") == {}


def test_a_flow_of_the_api_is_only_taken_over_with_adopt(any_world: World) -> None:
    from namespaces.registry import Registry

    world = any_world
    Registry(world.database, world.catalog, world.clock).create(flow("a", "company.a"))

    run = world.synced({at("company.a", "a"): flow("a", "company.a", "of git")})
    refused = world.flows(None), world.codes(run)
    world.policy(adopt=True)
    world.sync()

    assert refused == ({"company.a.a": 1}, {at("company.a", "a"): ("G013", 1)})
    assert world.flows() == {"company.a.a": 2}


def test_duplicate_ids_are_reported_at_both_places_and_neither_wins(any_world: World) -> None:
    world = any_world
    world.synced({at("company.a", "a"): flow("a", "company.a")})

    run = world.synced({at("company.a", "copy"): "# a copy\n" + flow("a", "company.a", "copied")})
    reported = world.codes(run)
    kept = world.text("company.a", "a")
    world.synced({at("company.a", "a"): None})

    assert reported == {at("company.a", "a"): ("G012", 1), at("company.a", "copy"): ("G012", 2)}
    assert "message: hello" in kept
    assert world.flows() == {"company.a.a": 2}
    assert "copied" in world.text("company.a", "a")
    assert world.status.state is State.SYNCED


def test_folder_and_written_namespace_must_agree(world: World) -> None:
    run = world.synced({at("company.a", "a"): "id: a\n# words\nnamespace: company.b\n" + flow("a", None)[6:]})

    assert world.codes(run) == {at("company.a", "a"): ("G010", 3)}
    assert world.flows() == {}
    world.policy(namespace_mismatch="rewrite")
    again = world.sync()
    assert world.flows() == {"company.a.a": 1}
    assert "namespace: company.b" in world.text("company.a", "a")
    assert "G011" in {r.code for r in world.results(again)}


def test_two_spellings_of_a_namespace_are_an_error(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})

    run = world.synced({"namespaces/company/data/flows/b.yaml": flow("b")})

    assert {code for code, _ in world.codes(run).values()} == {"G022"}
    assert set(world.codes(run)) == {at("company.data", "a"), "namespaces/company/data/flows/b.yaml"}
    assert world.flows() == {"company.data.a": 1}


def test_the_nested_spelling_means_the_same(world: World) -> None:
    world.synced({"namespaces/company/data/flows/deep/a.yaml": flow("a"), "namespaces/company/data/files/x": "1"})

    assert world.flows() == {"company.data.a": 1}
    assert set(world.files()) == {"company.data/x"}


def test_a_held_flow_waits_for_the_other_source_that_frees_it(world: World) -> None:
    from namespaces.registry import Registry

    registry = Registry(world.database, world.catalog, world.clock)
    registry.create(flow("a", "company.a"))
    world.synced({at("company.a", "a"): flow("a", "company.a", "of git")})
    assert world.flows() == {}

    registry.delete("company.a", "a")
    world.service.poll("data")

    assert world.flows() == {"company.a.a": 3}
