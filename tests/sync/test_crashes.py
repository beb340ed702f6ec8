"""Killed at any step: T30, T31, T33, T34; two at once: T32; all or nothing every time."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from namespaces.store.db import open_database
from sync.model import State
from tests.sync.conftest import World, at, flow

ROOT = Path(__file__).parents[2]


def command(world: World) -> list[str]:
    url = world.database.url.render_as_string(hide_password=False)
    return [sys.executable, "-m", "tests.sync.one_sync", url, str(world.settings.mirror_dir), world.repo.url]


def child(world: World, crash: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if crash:
        environment |= {"LANNER_TEST": "1", "LANNER_TEST_CRASH": crash}
    return subprocess.Popen(
        command(world), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> int:
    _, errors = process.communicate(timeout=50)
    assert process.returncode in (0, -9), errors
    return process.returncode


def commit_of(count: int, message: str) -> dict[str, str]:
    return {at(f"company.n{i % 7}", f"f{i:03}"): flow(f"f{i:03}", f"company.n{i % 7}", message) for i in range(count)}


@pytest.mark.parametrize("point", ["sync.after_fetch", "sync.middle_apply"])
def test_a_sync_that_is_killed_applies_nothing_and_the_next_one_everything_once(any_world: World, point: str) -> None:
    world = any_world
    world.synced(commit_of(20, "old"))
    world.push(commit_of(20, "new"))
    world.service.stop()

    status = finish(child(world, point))
    after_kill = world.flows()
    world.configure()
    again = world.sync()
    world.configure()
    idle = world.sync()

    assert status == -9
    assert (again.outcome, idle.outcome) == ("applied", "unchanged")
    assert set(after_kill.values()) == {1}
    assert set(world.flows().values()) == {2}
    assert world.generation() == 2
    assert world.status.state is State.SYNCED


def test_a_lost_ref_update_costs_a_full_comparison_only(world: World) -> None:
    world.synced(commit_of(5, "old"))
    for mirror in world.mirrors():
        shutil.rmtree(mirror / "refs" / "lanner")
    world.configure()

    run = world.synced(commit_of(5, "new"))

    assert dict(run.counts) == {"update": 5}
    assert run.rewritten is False
    assert set(world.flows().values()) == {2}


@pytest.mark.slow
def test_kills_at_random_moments_always_leave_exactly_one_plan(world: World) -> None:
    seed = random.Random(20260101)
    world.synced(commit_of(100, "0"))
    world.service.stop()
    versions = {"0"}
    for number in range(1, 13):
        world.push(commit_of(100, str(number)))
        process = child(world)
        time.sleep(seed.uniform(0.3, 1.6))  # the moment of the kill, not something waited for
        process.kill()
        process.communicate(timeout=30)
        texts = {world.text(f"company.n{i % 7}", f"f{i:03}").split("message: ")[1].strip() for i in range(100)}
        assert len(texts) == 1
        versions |= texts
    finish(child(world))

    assert {world.text("company.n0", "f000").split("message: ")[1].strip()} == {"12"}
    assert world.status.state is State.SYNCED


def test_of_two_replicas_one_applies_and_the_other_is_told(any_world: World) -> None:
    """Both plan the same commit; whoever commits second meets another fencing token and writes nothing."""
    world = any_world
    world.synced(commit_of(3, "old"))
    world.service.stop()
    world.push(commit_of(3, "new"))
    first = world.make(world.config, holder="first")
    second = world.make(world.config, holder="second")

    # `first` has the lease and stands still while parsing, until its lease has ended and `second` has synced.
    reader = first._loop._tools.reader
    arrived, released = threading.Event(), threading.Event()
    parse = reader._read

    def slow(data: bytes, namespace: str | None):  # type: ignore[no-untyped-def]
        arrived.set()
        assert released.wait(30)
        return parse(data, namespace)

    reader._read = slow
    runs: list[object] = []
    thread = threading.Thread(target=lambda: runs.append(first.sync_now("data")))
    thread.start()
    assert arrived.wait(30)
    busy = second.poll("data")
    end_lease(world)
    other = second.sync_now("data")
    released.set()
    thread.join(30)

    assert busy is None
    assert other is not None
    assert other.outcome == "applied"
    assert set(world.flows().values()) == {2}
    outcomes = [run.outcome for run in second.runs("data")]
    assert outcomes.count("lost_lease") == 1
    assert outcomes.count("applied") == 2


def end_lease(world: World) -> None:
    from datetime import UTC, datetime

    import sqlalchemy as sa

    from namespaces.tables import LeaseRow

    table = LeaseRow.__table__  # type: ignore[attr-defined]
    past = datetime(2020, 1, 1, tzinfo=UTC)
    world.database.write(lambda tx: tx.execute(sa.update(table).values(until=past)))


@pytest.mark.parametrize("name", ["shallow.lock", "packed-refs.lock", "index.lock", "config.lock", "HEAD.lock",
                                  "objects/pack/tmp_pack_abc", "refs/lanner/data/in.lock"])  # fmt: skip
def test_a_lock_left_by_a_killed_git_is_removed(world: World, name: str) -> None:
    world.synced(commit_of(2, "old"))
    (mirror,) = world.mirrors()
    stale = mirror / name
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("")

    run = world.synced(commit_of(2, "new"))

    assert run.outcome == "applied"
    assert not stale.exists()


@pytest.mark.parametrize("how", ["deleted", "objects", "truncated", "head"])
def test_a_damaged_mirror_is_made_again(world: World, how: str) -> None:
    world.synced(commit_of(30, "old"))
    (mirror,) = world.mirrors()
    if how == "deleted":
        shutil.rmtree(mirror)
    elif how == "objects":
        shutil.rmtree(mirror / "objects")
        (mirror / "objects").mkdir()
    elif how == "head":
        (mirror / "HEAD").unlink()
    else:
        for pack in (mirror / "objects" / "pack").glob("*.pack"):
            pack.chmod(0o644)
            pack.write_bytes(pack.read_bytes()[:200])
        for path in (mirror / "objects").glob("??/*"):
            path.chmod(0o644)
            path.write_bytes(b"")

    run = world.synced(commit_of(30, "new"))

    assert run.outcome == "applied"
    assert set(world.flows().values()) == {2}
    assert len(world.mirrors()) == 1


def test_a_mirror_that_cannot_be_made_is_an_error_and_nothing_else_changes(world: World) -> None:
    world.synced(commit_of(2, "old"))
    folder = world.settings.mirror_dir
    shutil.rmtree(folder)
    folder.write_text("in the way")
    world.configure()

    run = world.synced(commit_of(2, "new"))
    folder.unlink()
    again = world.sync()

    assert (run.outcome, run.reason) == ("failed", "Mirror")
    assert again.outcome == "applied"
    assert set(world.flows().values()) == {2}


def test_a_request_that_arrives_during_a_pass_leads_to_another_one(world: World) -> None:
    world.synced(commit_of(2, "old"))
    reader = world.service._loop._tools.reader
    parse = reader._read
    asked: list[str] = []

    def push_meanwhile(data: bytes, namespace: str | None):  # type: ignore[no-untyped-def]
        if not asked:
            world.push(commit_of(2, "newest"))
            asked.append(world.service.request("data", by="ana"))
        return parse(data, namespace)

    reader._read = push_meanwhile
    first = world.synced(commit_of(2, "new"))
    second = world.service.poll("data")

    assert second is not None
    assert (first.id != second.id, second.id) == (True, asked[0])
    assert "newest" in world.text("company.n0", "f000")


def test_a_database_that_goes_away_and_comes_back_loses_nothing(world: World) -> None:
    world.synced(commit_of(2, "old"))
    url = world.database.url
    world.push(commit_of(2, "new"))
    world.service.stop()
    world.database.close()
    world.database = open_database(url)
    world.configure()

    world.sync()

    assert set(world.flows().values()) == {2}
    world.service.stop()
