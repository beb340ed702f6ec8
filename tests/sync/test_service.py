"""The facade: sources added and removed at run time, loops that find work by themselves, figures, history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from namespaces.clock import ManualClock, SystemClock
from namespaces.errors import ConfigurationError, Conflict, Forbidden, NotFound
from sync import store
from sync.model import State
from tests.support.waiting import until
from tests.sync.conftest import World, at, flow


def test_a_source_is_added_synced_and_removed_at_run_time(any_world: World) -> None:
    world = any_world
    service = world.make({**world.config, "name": "other", "namespaces": ["other.**"]})
    world.push({at("company.data", "a"): flow("a")})

    added = service.add(world.config, by="ana")
    run = service.sync_now("data")
    with pytest.raises(Conflict):
        service.add(world.config)
    with pytest.raises(Forbidden):
        service.remove("other")
    service.remove("data", by="ana")

    assert (added.state, added.origin) == (State.UNKNOWN, "api")
    assert run is not None
    assert run.outcome == "applied"
    assert {s.name: s.state for s in service.list()}["data"] is State.RELEASED
    assert world.flows() == {"company.data.a": 1}
    assert {"source.added", "source.removed"} <= set(world.audited())


def test_an_added_source_may_not_claim_what_another_has(world: World) -> None:
    with pytest.raises(ConfigurationError, match="both claim"):
        world.service.add({**world.config, "name": "thief"})
    with pytest.raises(ConfigurationError, match="reference"):
        world.service.add({**world.config, "name": "x", "auth": {"type": "token", "token": "literal"}})


def test_a_source_that_another_process_added_is_noticed(world: World) -> None:
    world.clock = SystemClock()
    world.push({at("company.data", "a"): flow("a")})
    nothing = {**world.config, "name": "idle", "namespaces": ["idle"], "poll": "1h"}
    syncing, web = world.make(nothing), world.make(nothing)
    syncing.start()
    try:
        web.add({**world.config, "poll": "1h"})
        until(lambda: world.flows() == {"company.data.a": 1}, "the first sync")
        again = web.sync_now("data", wait=30)
    finally:
        syncing.stop()

    assert again is not None


def test_loops_poll_by_themselves_and_stop_at_once(any_world: World) -> None:
    world = any_world.configure(poll="100ms")
    world.clock = SystemClock()
    world.push({at("company.data", "a"): flow("a")})
    service = world.make(world.config)
    service.start()
    try:
        until(lambda: world.flows() == {"company.data.a": 1}, "the first sync")
        world.push({at("company.data", "a"): flow("a", message="new")})
        until(lambda: world.flows() == {"company.data.a": 2}, "the second sync")
    finally:
        service.stop()

    assert service.status("data").state is State.SYNCED


TRIGGERS = """triggers:
  - {id: nightly, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 3 * * *"}
  - {id: never, type: io.kestra.plugin.core.trigger.Schedule, cron: "0 4 * * *", disabled: true}
"""


@pytest.mark.parametrize("name", ["data", "fresh"])
def test_triggers_of_a_released_source_are_paused_until_one_owns_its_flows_again(world: World, name: str) -> None:
    from namespaces.declarations import declarations
    from sync.config import parse_sources

    def paused() -> dict[str, bool]:
        return {d.trigger_id: d.disabled for d in world.database.read(declarations)}

    def reload(*configs: dict[str, Any]) -> None:
        world.service.reload(parse_sources(list(configs), resolve_credential=str, settings=world.settings))

    world.synced({at("company.data", "a"): flow("a", more=TRIGGERS)})
    assert paused() == {"nightly": False, "never": True}

    reload()
    assert paused() == {"nightly": True, "never": True}

    reload({**world.config, "name": name, "apply": {"adopt": True}})
    world.service.sync_now(name)
    assert paused() == {"nightly": False, "never": True}
    assert world.flows(name) == {"company.data.a": 1}


def test_a_configuration_that_was_read_again_is_taken_over(world: World) -> None:
    from sync.config import parse_sources

    world.synced({at("company.data", "a"): flow("a")})
    config = {**world.config, "name": "fresh", "apply": {"adopt": True}}

    world.service.reload(parse_sources([config], resolve_credential=str, settings=world.settings))
    run = world.service.sync_now("fresh")

    assert run is not None
    assert {s.name: s.state for s in world.service.list()} == {"data": State.RELEASED, "fresh": State.SYNCED}
    assert world.flows("fresh") == {"company.data.a": 1}


def test_commits_figures_and_unknown_names(world: World) -> None:
    world.push({at("company.data", "a"): flow("a")}, "first")
    world.synced({at("company.data", "a"): flow("a", message="x")}, "second")

    assert [c.subject for c in world.service.commits("data")] == ["second", "first"]
    assert world.service.deliveries("data") == ()
    figures = {(name, labels.get("state")): value for name, labels, value in world.service.figures()}
    assert figures["lanner_git_state", "Synced"] == 1.0
    assert figures["lanner_git_items", "ok"] == 1.0
    for ask in (world.service.status, world.service.items, world.service.commits, world.service.plan):
        with pytest.raises(NotFound):
            ask("nothing")
    with pytest.raises(NotFound):
        world.service.results("nothing")


def test_test_asks_the_remote_and_changes_nothing(world: World) -> None:
    commit = world.push({at("company.data", "a"): flow("a")})

    assert world.service.test("data") == commit
    assert world.flows() == {}


def test_the_whole_tree_is_compared_once_a_day_and_old_runs_go(world: World, clock: ManualClock) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    world.service.poll("data")
    world.asked_git()
    clock.advance(timedelta(days=100))

    world.service.poll("data")
    asked = world.asked_git()
    world.service.poll("data")

    assert "ls-tree" in asked
    assert world.asked_git() == ["ls-remote"]
    assert len(world.service.runs("data")) == 1
    kept = world.database.write(lambda tx: store.purge_runs(tx, "data", before=clock.now(), keep=0))
    assert kept == 1


@pytest.mark.parametrize(("days", "left"), [(10, 2), (1, 1)])
def test_records_of_syncs_are_kept_as_long_as_they_shall_be(
    world: World, clock: ManualClock, days: int, left: int
) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    clock.advance(timedelta(days=2))
    world.push({at("company.data", "b"): flow("b")})

    other = world.make(runs_kept_for=timedelta(days=days))
    other.poll("data")

    assert len(other.runs("data")) == left


def test_files_that_are_not_read_yet_are_named(world: World) -> None:
    run = world.synced({at("company.data", "a"): flow("a"), "namespaces/company.data/kv.yaml": "a: 1\n"})

    assert [(r.severity, r.message) for r in world.results(run) if r.kind == "kv"] == [
        ("info", "kv.yaml is not read by this version")
    ]
    assert world.status.state is State.SYNCED


def test_a_look_that_finds_nothing_right_after_another_writes_nothing(world: World, clock: ManualClock) -> None:
    def checked() -> datetime:
        moment: datetime = world.database.read(lambda c: store.row_of(c, "data")).checked_at
        return moment

    world.synced({at("company.data", "a"): flow("a")})
    first = checked()

    clock.advance(timedelta(seconds=1))
    assert world.service.poll("data") is None
    assert checked() == first

    clock.advance(timedelta(seconds=5))
    assert world.service.poll("data") is None
    assert checked() == first + timedelta(seconds=6)

    clock.advance(timedelta(seconds=1))
    world.push({at("company.data", "a"): flow("a", message="new")})
    assert world.service.poll("data") is not None
    assert checked() == first + timedelta(seconds=7)
