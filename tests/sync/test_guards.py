"""What looks like an accident waits for a person: T13 to T20, G8."""

from __future__ import annotations

import pytest

from namespaces.errors import Conflict
from sync.model import State
from tests.sync.conftest import World, at, flow


def many(count: int, namespace: str = "company.data", message: str = "hello") -> dict[str, str | None]:
    return {at(namespace, f"f{i:02}"): flow(f"f{i:02}", namespace, message) for i in range(count)}


def test_the_dry_run_is_the_plan_that_gets_applied(world: World) -> None:
    world.synced(many(4))
    world.push(
        {**many(2, message="new"), at("company.data", "f03"): None, at("company.x", "n"): flow("n", "company.x")}
    )
    before = world.flows()

    planned = world.service.plan("data")
    unchanged = world.flows()
    run = world.sync()

    assert unchanged == before
    assert planned.hash == run.plan_hash
    assert dict(planned.counts) == dict(run.counts) == {"update": 2, "delete": 1, "rename": 1}


def test_a_plan_at_another_ref_changes_nothing(world: World) -> None:
    world.synced(many(2))
    world.repo.git("checkout", "-q", "-b", "feature")
    commit = world.repo.commit({at("company.data", "new"): flow("new")}, push=False)
    world.repo.git("push", "-q", "origin", "feature")

    planned = world.service.plan("data", "feature")

    assert (planned.commit, dict(planned.counts)) == (commit, {"create": 1})
    assert world.service.plan("data", commit).hash == planned.hash
    assert world.status.state is State.SYNCED


def test_an_approval_does_not_count_for_another_commit(world: World) -> None:
    world.policy(guard={"max_deletes": 1, "max_delete_percent": 100})
    world.synced(many(6))
    world.synced(dict.fromkeys(many(3)))
    first = world.status.plan
    assert first is not None

    world.push({at("company.data", "f03"): None})
    world.service.approve("data", first["hash"], by="ana")
    run = world.sync()

    assert run.outcome == "blocked"
    assert len(world.flows()) == 6
    second = world.status.plan
    assert second is not None
    assert second["hash"] != first["hash"]
    with pytest.raises(Conflict, match="another one"):
        world.service.approve("data", first["hash"], by="ana")


def test_an_emptied_repository_deletes_nothing_until_it_is_approved(any_world: World) -> None:
    world = any_world
    world.synced(many(3))

    run = world.synced({**dict.fromkeys(many(3)), "README.md": "empty"})
    status = world.status
    blocked = world.flows()
    assert status.plan is not None
    world.service.approve("data", status.plan["hash"], by="ana")
    world.service.poll("data")

    assert (run.outcome, run.reason) == ("blocked", "EmptyTree")
    assert (status.state, status.reason) == (State.OUT_OF_SYNC, "EmptyTree")
    assert len(blocked) == 3
    assert world.flows() == {}
    assert world.status.state is State.SYNCED
    assert "source.approved" in world.audited()


def test_a_waiting_plan_is_not_made_again_at_each_poll(world: World) -> None:
    world.synced(many(3))
    world.synced({**dict.fromkeys(many(3)), "README.md": "empty"})
    world.asked_git()

    world.service.poll("data")

    assert world.asked_git() == ["ls-remote"]
    assert world.events().count("git.blocked") == 1


def test_allow_empty_admits_an_empty_tree(world: World) -> None:
    world.policy(allow_empty=True)
    world.synced(many(3))

    world.synced({**dict.fromkeys(many(3)), "README.md": "empty"})

    assert world.flows() == {}


def test_a_deleted_branch_changes_nothing_and_the_default_branch_is_never_used(any_world: World) -> None:
    world = any_world.configure(ref={"branch": "live"})
    world.push(many(2))
    world.repo.git("push", "-q", "origin", "HEAD:refs/heads/live")
    world.sync()
    world.repo.commit({at("company.data", "f00"): None})

    world.repo.git("push", "-q", "origin", ":refs/heads/live")
    run = world.sync()
    status = world.status
    world.repo.git("push", "-q", "origin", "HEAD:refs/heads/live")
    world.sync()

    assert (run.outcome, run.reason) == ("failed", "RefMissing")
    assert (status.state, status.reason) == (State.ERROR, "RefMissing")
    assert world.status.state is State.SYNCED
    assert world.flows() == {"company.data.f01": 1}


@pytest.mark.parametrize("replacement", [None, "now a file"])
def test_a_missing_path_changes_nothing(world: World, replacement: str | None) -> None:
    world.configure(path="flows")
    world.synced({"flows/" + at("company.data", "a"): flow("a"), "README": "x"})

    world.repo.git("rm", "-rq", "flows")
    world.push({"flows": replacement} if replacement else {})
    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "PathMissing")
    assert world.status.state is State.ERROR
    assert world.flows() == {"company.data.a": 1}
    world.asked_git()
    world.service.poll("data")
    assert world.asked_git() == ["ls-remote"]
    world.repo.git("rm", "-rq", "--ignore-unmatch", "flows")
    world.synced({"flows/" + at("company.data", "a"): flow("a")})
    assert world.status.state is State.SYNCED


def test_too_many_deletions_wait_as_a_whole_until_approved(any_world: World) -> None:
    world = any_world.policy(guard={"max_deletes": 20, "max_delete_percent": 30})
    world.synced(many(10))

    run = world.synced({**dict.fromkeys(many(4)), at("company.data", "f09"): flow("f09", message="new")})
    status = world.status
    blocked = world.flows()
    assert status.plan is not None
    world.service.approve("data", status.plan["hash"], by="ana")
    world.service.poll("data")

    assert (run.outcome, run.reason) == ("blocked", "DeleteGuard")
    assert len(blocked) == 10
    assert len(world.flows()) == 6
    assert world.status.state is State.SYNCED


def test_moves_and_renames_do_not_count_as_deletions(world: World) -> None:
    world.policy(guard={"max_deletes": 1, "max_delete_percent": 10})
    world.synced({at("company.data", f"f{i}"): flow(f"f{i}", None) for i in range(6)})

    moved = {at("company.data", f"f{i}"): None for i in range(3)}
    moved |= {at("company.data", f"sub/f{i}"): flow(f"f{i}", None) for i in range(2)}
    run = world.synced({**moved, at("company.other", "f2"): flow("f2", None)})

    assert run.outcome == "applied"
    assert dict(run.counts) == {"move": 2, "rename": 1, "delete": 1}


def test_one_of_ten_namespaces_over_the_guard_is_held_alone(any_world: World) -> None:
    world = any_world.policy(guard={"max_deletes": 20, "max_delete_percent": 30, "min_items_for_percent": 3})
    for i in range(10):
        world.push(many(3, f"company.n{i}"))
    world.sync()

    run = world.synced({**dict.fromkeys(many(3, "company.n4")), **many(1, "company.n5", "new")})
    status = world.status
    world.check()

    assert run.outcome == "degraded"
    assert {r.code for r in world.results(run) if r.severity == "error"} == {"G062"}
    assert len(world.flows()) == 30
    assert world.flows()["company.n5.f00"] == 2
    assert status.state is State.DEGRADED


def test_prune_off_keeps_what_is_gone_from_git(world: World) -> None:
    world.policy(prune=False)
    world.synced(many(3))

    world.synced({at("company.data", "f00"): None})

    assert len(world.flows()) == 3
    assert world.status.state is State.SYNCED
    assert [item.path for item in world.service.items("data", "kept")] == [at("company.data", "f00")]


def test_a_repository_replaced_by_an_empty_one_changes_nothing(world: World) -> None:
    import shutil
    import subprocess

    world.synced(many(3))

    shutil.rmtree(world.repo.remote)
    subprocess.run(["git", "init", "-q", "--bare", str(world.repo.remote)], check=True)
    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "RefMissing")
    assert len(world.flows()) == 3


def test_an_unrelated_repository_is_a_rewrite_and_meets_the_guard(world: World) -> None:
    world.policy(guard={"max_deletes": 20, "max_delete_percent": 30})
    world.synced(many(10))

    world.repo.git("checkout", "-q", "--orphan", "fresh")
    world.repo.git("rm", "-rqf", ".")
    world.repo.commit(many(2, message="other"), push=False)
    world.repo.push()
    run = world.sync()

    assert (run.outcome, run.reason, run.rewritten) == ("blocked", "DeleteGuard", True)
    assert len(world.flows()) == 10


@pytest.mark.parametrize("how", ["amend", "reset", "orphan"])
def test_a_force_push_is_applied_flagged_and_audited(any_world: World, how: str) -> None:
    world = any_world
    world.synced(many(2))
    world.synced(many(2, message="second"))

    if how == "amend":
        world.repo.write(at("company.data", "f00"), flow("f00", message="amended"))
        world.repo.git("commit", "-qa", "--amend", "-m", "amended")
    elif how == "reset":
        world.repo.git("reset", "-q", "--hard", "HEAD~1")
    else:
        world.repo.git("checkout", "-q", "--orphan", "fresh")
        world.repo.commit(many(2, message="orphan"), push=False)
    world.repo.push()
    run = world.sync()

    assert (run.outcome, run.rewritten) == ("applied", True)
    assert world.flows()["company.data.f00"] == 3
    assert "source.rewritten" in world.audited()
    assert "git.rewritten" in world.events()


def test_on_rewrite_block_waits_for_approval(world: World) -> None:
    world.policy(on_rewrite="block")
    world.synced(many(2))
    world.repo.git("commit", "-q", "--amend", "-m", "other words")
    world.repo.push()

    run = world.sync()
    status = world.status
    assert status.plan is not None
    world.service.approve("data", status.plan["hash"], by="ana")
    world.service.poll("data")

    assert (run.outcome, run.reason) == ("blocked", "Rewritten")
    assert world.status.state is State.SYNCED
    assert world.status.applied_commit == world.repo.head


def test_manual_mode_waits_for_each_plan(world: World) -> None:
    world.policy(mode="manual")

    run = world.synced(many(2))
    status = world.status
    assert status.plan is not None
    waiting = world.flows()
    world.service.approve("data", status.plan["hash"], by="ana")
    world.service.poll("data")

    assert (run.outcome, run.reason, waiting) == ("blocked", "Manual", {})
    assert len(world.flows()) == 2


def test_a_pinned_source_stays_until_it_is_unpinned(any_world: World) -> None:
    world = any_world
    first = world.push(many(2))
    world.sync()
    world.synced(many(2, message="second"))

    world.service.pin("data", first, by="ana", reason="second is broken")
    world.service.poll("data")
    pinned = world.status
    world.synced(many(2, message="third"))
    still = world.status, world.text("company.data", "f00")
    world.service.pin("data", None, by="ana")
    world.service.poll("data")

    assert (pinned.state, pinned.reason, pinned.applied_commit) == (State.OUT_OF_SYNC, "Pinned", first)
    assert pinned.pin is not None
    assert (pinned.pin["by"], pinned.pin["reason"]) == ("ana", "second is broken")
    assert (still[0].state, still[0].applied_commit) == (State.OUT_OF_SYNC, first)
    assert "hello" in still[1]
    assert "third" in world.text("company.data", "f00")
    assert world.status.state is State.SYNCED


def test_a_paused_source_refuses_to_sync_and_resumes(world: World) -> None:
    world.synced(many(1))
    world.service.pause("data", by="ana")
    world.push(many(1, message="new"))

    with pytest.raises(Conflict, match="paused"):
        world.sync()
    paused = world.status
    world.service.resume("data", by="ana")
    world.service.poll("data")

    assert (paused.state, paused.reason) == (State.OUT_OF_SYNC, "Paused")
    assert world.flows()["company.data.f00"] == 2
    assert world.status.state is State.SYNCED
