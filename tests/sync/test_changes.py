"""What a commit does to the registry: T01 to T07, T05, T06."""

from __future__ import annotations

from sync.model import State
from tests.sync.conftest import World, at, flow

SCHEDULE = 'triggers:\n  - id: daily\n    type: io.kestra.plugin.core.trigger.Schedule\n    cron: "0 5 * * *"\n'


def test_the_first_sync_creates_every_flow_with_its_commit(any_world: World) -> None:
    world = any_world
    files = {at(f"company.{name}", "ingest"): flow("ingest", f"company.{name}") for name in ("a", "b", "c")}
    commit = world.push(files, "Bring three flows\n\nWith a body.")

    run = world.sync()

    assert run.outcome == "applied"
    assert world.flows() == {"company.a.ingest": 1, "company.b.ingest": 1, "company.c.ingest": 1}
    origin = world.origin("company.b", "ingest")
    assert origin.commit == commit
    assert (origin.author_name, origin.author_email) == ("Ada", "ada@example.com")
    assert origin.message == "Bring three flows\n\nWith a body."
    assert origin.path == "namespaces/company.b/flows/ingest.yaml"
    status = world.status
    assert (status.state, status.applied_commit, status.seen_commit) == (State.SYNCED, commit, commit)
    assert status.applied is not None
    assert status.applied["subject"] == "Bring three flows"
    assert status.layout == "lanner"


def test_twenty_polls_without_a_change_ask_the_remote_once_each_and_write_nothing(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    generation, runs = world.generation(), world.service.runs()
    world.asked_git()

    for _ in range(20):
        assert world.service.poll("data") is None

    assert world.asked_git() == ["ls-remote"] * 20
    assert world.generation() == generation
    assert world.service.runs() == runs


def test_one_edited_flow_is_the_only_one_read(world: World) -> None:
    world.synced({at("company.data", name): flow(name) for name in ("a", "b", "c")})
    reader = world.service._loop._tools.reader
    before = len(reader._cache)

    run = world.synced({at("company.data", "b"): flow("b", message="new")})

    assert len(reader._cache) == before + 1
    assert dict(run.counts) == {"update": 1}
    assert world.flows() == {"company.data.a": 1, "company.data.b": 2, "company.data.c": 1}


def test_add_change_and_delete_in_one_commit_are_one_generation(any_world: World) -> None:
    world = any_world
    world.synced({at("company.data", "a"): flow("a", more=SCHEDULE), at("company.data", "b"): flow("b", more=SCHEDULE)})
    before = world.generation()

    run = world.synced(
        {
            at("company.data", "a"): None,
            at("company.data", "b"): flow("b", message="new", more=SCHEDULE.replace("daily", "nightly")),
            at("company.other", "c"): "id: c\ninputs:\n  - id: x\n    type: INT\n" + flow("c", None)[6:],
        }
    )

    assert dict(run.counts) == {"delete": 1, "update": 1, "create": 1}
    assert world.generation() == before + 1
    assert {r.action for r in world.results(run)} == {"delete", "update", "create"}
    assert world.flows() == {"company.data.b": 2, "company.other.c": 1}
    assert world.triggers() == {("b", "nightly")}


def test_a_moved_file_keeps_its_revision(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})

    run = world.synced({at("company.data", "a"): None, at("company.data", "sub/a"): flow("a")})

    assert dict(run.counts) == {"move": 1}
    assert world.flows() == {"company.data.a": 1}
    assert [item.path for item in world.service.items("data")] == [at("company.data", "sub/a")]


def test_an_id_changed_in_place_is_a_rename(any_world: World) -> None:
    world = any_world
    world.synced({at("company.data", "a"): flow("a", more=SCHEDULE)})

    run = world.synced({at("company.data", "a"): flow("b", more=SCHEDULE)})

    assert dict(run.counts) == {"rename": 1, "delete": 1}
    assert world.flows() == {"company.data.b": 1}
    assert world.origin("company.data", "b").renamed_from == "company.data.a"
    assert world.triggers() == {("b", "daily")}


def test_a_renamed_file_with_an_edit_is_a_rename_by_likeness(world: World) -> None:
    text = flow("old", more=SCHEDULE + "description: a long description that both of them share, word for word\n")
    world.synced({at("company.data", "old"): text, at("company.data", "else"): flow("else")})

    run = world.synced({at("company.data", "old"): None, at("company.data", "new"): text.replace("id: old", "id: new")})

    assert run.counts["rename"] == 1
    assert world.origin("company.data", "new").renamed_from == "company.data.old"
    assert "company.data.old" not in world.flows()


def test_a_flow_that_moves_to_another_namespace_is_a_rename(world: World) -> None:
    world.synced({at("company.a", "x"): flow("x", None), at("company.a", "y"): flow("y", None)})

    run = world.synced({at("company.a", "x"): None, at("company.b", "x"): flow("x", None)})

    assert dict(run.counts) == {"rename": 1, "delete": 1}
    assert world.origin("company.b", "x").renamed_from == "company.a.x"


def test_a_commit_outside_the_path_moves_the_pointer_only(world: World) -> None:
    world.configure(path="flows")
    world.synced({"flows/" + at("company.data", "a"): flow("a")})
    generation = world.generation()
    world.asked_git()

    commit = world.push({"README.md": "hello", "elsewhere/x.yaml": "a: b"})
    run = world.sync()

    assert run.outcome == "unchanged"
    assert world.status.applied_commit == commit
    assert world.generation() == generation
    assert "diff-tree" not in world.asked_git()
    assert world.results(run) == []


def test_the_commit_shown_is_the_one_that_brought_the_content(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    first = world.push({at("company.data", "b"): flow("b")}, "bring b")
    second = world.push({at("company.data", "c"): flow("c")}, "bring c")
    world.push({"README.md": "x"}, "words")

    world.sync()

    assert world.origin("company.data", "b").commit == first
    assert world.origin("company.data", "b").message == "bring b"
    assert world.origin("company.data", "c").commit == second


def test_an_earlier_text_gets_a_new_number(world: World) -> None:
    world.synced({at("company.data", "a"): flow("a", message="one")})
    world.synced({at("company.data", "a"): flow("a", message="two")})

    world.synced({at("company.data", "a"): flow("a", message="one")})

    assert world.flows() == {"company.data.a": 3}


def test_namespace_files_are_versioned_with_the_commit(any_world: World) -> None:
    world = any_world
    base = "namespaces/company.data/files/"
    world.synced({at("company.data", "a"): flow("a"), base + "sql/load.sql": "select 1", base + "same.txt": "x"})
    first = world.files()

    world.synced({base + "sql/load.sql": "select 2", base + "bin": b"\x00\xff" * 10})

    after = world.files()
    assert set(after) == {"company.data/sql/load.sql", "company.data/same.txt", "company.data/bin"}
    assert after["company.data/sql/load.sql"] != first["company.data/sql/load.sql"]
    assert after["company.data/same.txt"] == first["company.data/same.txt"]
    assert world.flows() == {"company.data.a": 1}
