"""What a remote can do to us: T26 to T29; the last good state always stays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from namespaces.clock import ManualClock
from sync.model import State
from sync.pace import Request, next_poll, next_try, ready_at
from tests.sync.conftest import SECRETS, World, at, flow
from tests.sync.gitserver import GitServer, serving

TOKEN = {"type": "token", "token": "${env:TOKEN}"}


@pytest.fixture
def server(world: World) -> Iterator[GitServer]:
    with serving(world.repo.remote.parent) as made:
        world.configure(url=made.url())
        yield made


def processes_of(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            # A zombie is dead: whoever adopted it has not looked yet.
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_repository_is_followed_over_http_with_a_token(world: World, server: GitServer) -> None:
    server.password = SECRETS["TOKEN"]
    world.configure(auth=TOKEN)

    run = world.synced({at("company.data", "a"): flow("a")})

    assert run.outcome == "applied"
    assert world.flows() == {"company.data.a": 1}
    for config in (world.folder / "mirrors with space").glob("*/*/config"):
        assert SECRETS["TOKEN"] not in config.read_text()


def test_an_unreachable_remote_is_an_error_after_three_tries_and_recovers_alone(
    world: World, server: GitServer, clock: ManualClock
) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    server.status = 503
    states = []
    for _ in range(3):
        world.service.poll("data")
        states.append((world.status.state, world.status.stale, world.status.fail_count))
    failed = world.status
    server.status = None
    world.push({at("company.data", "a"): flow("a", message="new")})
    world.service.poll("data")

    assert states == [(State.SYNCED, True, 1), (State.SYNCED, True, 2), (State.ERROR, False, 3)]
    assert failed.reason == "Unreachable"
    assert failed.next_attempt_at is not None
    assert timedelta() < failed.next_attempt_at - clock.now() <= timedelta(minutes=8)
    assert world.status.state is State.SYNCED
    assert world.flows() == {"company.data.a": 2}
    assert world.events().count("git.error") == 1
    assert world.events().count("git.recovered") == 1


def test_backoff_grows_within_its_bounds(clock: ManualClock) -> None:
    poll, now = timedelta(seconds=60), clock.now()

    for failures in range(1, 40):
        ceiling = min(poll * 2**failures, timedelta(minutes=15))
        for fraction in (0.0, 0.5, 0.999):
            wait = next_try(now, poll, failures, "Unreachable", fraction) - now
            assert timedelta(seconds=1) <= wait <= ceiling
            slow = next_try(now, poll, failures, "AuthFailed", fraction) - now
            assert timedelta(minutes=2.5) <= slow <= timedelta(minutes=15)
    for fraction in (0.0, 0.999):
        spread = next_poll(now, poll, fraction)
        assert spread is not None
        assert timedelta(seconds=48) <= spread - now <= timedelta(seconds=72)
    assert next_poll(now, timedelta(), 0.5) is None


def test_requests_are_joined_but_never_wait_for_ever(clock: ManualClock) -> None:
    start = clock.now()
    second = timedelta(seconds=1)

    assert ready_at(Request(start, start), None) == start + second
    assert ready_at(Request(start, start + 4.5 * second), None) == start + 5 * second
    assert ready_at(Request(start, start), start + 0.5 * second) == start + 2.5 * second
    assert ready_at(Request(start, start, hasty=True), start) == start


def test_a_remote_that_hangs_is_ended_with_its_whole_process_group(world: World, server: GitServer) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    server.hang = True
    world.configure(timeout="1s")
    sessions: set[int] = set()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.05):
            for entry in os.listdir("/proc"):
                if entry.isdigit():
                    try:
                        command = Path(f"/proc/{entry}/cmdline").read_bytes()
                    except OSError:
                        continue
                    if b"ls-remote" in command and server.url().encode() in command:
                        with_stat = Path(f"/proc/{entry}/stat")
                        try:
                            sessions.add(int(with_stat.read_text().rpartition(")")[2].split()[3]))
                        except OSError:
                            continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run = world.sync()
    finally:
        watching.set()
        watcher.join()

    assert (run.outcome, run.reason) == ("failed", "Timeout")
    assert world.status.state is State.SYNCED
    assert sessions
    assert [pid for session in sessions for pid in processes_of(session)] == []


def test_an_ssh_child_that_ignores_term_cannot_hold_the_lease(world: World) -> None:
    stubborn = world.folder / "stubborn-ssh"
    marker = world.folder / "ssh.pid"
    stubborn.write_text(f"#!/bin/sh\ntrap '' TERM HUP INT\necho $$ > '{marker}'\nwhile :; do sleep 1; done\n")
    stubborn.chmod(0o755)
    auth = {"type": "ssh", "private_key": "${env:TOKEN}", "known_hosts": "${env:TOKEN}"}
    config = {**world.config, "url": "ssh://git@127.0.0.1/x.git", "auth": auth, "timeout": "1s"}
    service = world.make(config, settings=replace(world.settings, ssh_program=str(stubborn)))

    run = service.sync_now("data")

    assert run is not None
    assert (run.outcome, run.reason) == ("failed", "Timeout")
    assert is_gone(int(marker.read_text()))


def test_a_stuck_remote_does_not_hold_up_another_source(world: World, server: GitServer) -> None:
    server.hang = True
    world.push({at("company.data", "a"): flow("a"), at("other.x", "b"): flow("b", "other.x")})
    stuck = {**world.config, "name": "stuck", "poll": "1h"}
    good = {**world.config, "url": world.repo.url, "namespaces": ["other.**"], "poll": "1h"}
    from namespaces.clock import SystemClock

    world.clock = SystemClock()
    service = world.make(stuck, good)
    service.start()
    try:
        run = service.sync_now("data", wait=30)
    finally:
        service.stop()

    assert run is not None
    assert world.flows("data") == {"other.x.b": 1}


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_is_told_apart_and_never_shown(
    world: World, server: GitServer, clock: ManualClock, status: int
) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    server.password = "another"
    server.status = status if status == 403 else None
    world.configure(auth=TOKEN)

    run = world.sync()
    seen = world.status

    assert (run.outcome, run.reason) == ("failed", "AuthFailed")
    assert (seen.state, seen.reason) == (State.ERROR, "AuthFailed")
    assert SECRETS["TOKEN"] not in seen.message + run.message
    assert seen.next_attempt_at is not None
    assert seen.next_attempt_at - clock.now() >= timedelta(minutes=2.5)
    assert world.flows() == {"company.data.a": 1}


def test_a_token_whose_reference_leads_nowhere_is_an_auth_failure(world: World, server: GitServer) -> None:
    world.configure(auth={"type": "token", "token": "${env:NOT_THERE}"})

    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "AuthFailed")
    assert "${env:NOT_THERE}" in run.message
    assert server.seen == []


def test_a_redirect_is_named_and_the_token_is_not_sent_there(world: World, server: GitServer) -> None:
    with serving(world.repo.remote.parent) as elsewhere:
        server.redirect_to = elsewhere.url("moved.git")
        world.configure(auth=TOKEN)
        run = world.sync()

        assert (run.outcome, run.reason) == ("failed", "Redirect")
        assert elsewhere.url("moved.git") in run.message
        assert elsewhere.seen == []


def test_a_repository_that_is_not_there_is_told_apart(world: World, server: GitServer) -> None:
    world.configure(url=server.url("nothing.git"))

    run = world.sync()

    assert (run.outcome, run.reason) == ("failed", "NotFound")


def test_a_connection_cut_in_the_pack_leaves_nothing_behind(world: World, server: GitServer) -> None:
    world.synced({at("company.data", "a"): flow("a")})
    world.push({at("company.data", f"n{i}"): flow(f"n{i}", message="x" * 500 + str(i)) for i in range(30)})
    server.cut = 300

    run = world.sync()
    leftovers = [p.name for m in world.mirrors() for p in m.rglob("tmp_*")]
    server.cut = None
    again = world.sync()

    assert (run.outcome, run.reason) == ("failed", "Unreachable")
    assert leftovers == []
    assert again.outcome == "applied"
    assert len(world.flows()) == 31


def test_an_unknown_host_key_is_refused(world: World) -> None:
    ssh = world.folder / "ssh"
    ssh.write_text("#!/bin/sh\necho 'Host key verification failed.' >&2\nexit 255\n")
    ssh.chmod(0o755)
    auth = {"type": "ssh", "private_key": "${env:TOKEN}", "known_hosts": "${env:TOKEN}"}
    config = {**world.config, "url": "ssh://git@127.0.0.1/x.git", "auth": auth}
    service = world.make(config, settings=replace(world.settings, ssh_program=str(ssh)))

    run = service.sync_now("data")

    assert run is not None
    assert (run.outcome, run.reason) == ("failed", "HostKey")


def test_ssh_is_started_with_host_keys_checked_and_no_agent(world: World) -> None:
    ssh, told = world.folder / "ssh", world.folder / "told"
    ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{told}"\nenv >> "{told}"\nexit 255\n')
    ssh.chmod(0o755)
    auth = {"type": "ssh", "private_key": "${env:TOKEN}", "known_hosts": "${env:HOOK}", "passphrase": "${env:OLD_HOOK}"}
    config = {**world.config, "url": "git@127.0.0.1:data/x.git", "auth": auth}
    service = world.make(config, settings=replace(world.settings, ssh_program=str(ssh)))
    os.environ["LANNER_SHOULD_NOT_LEAK"] = "leaked"
    try:
        service.sync_now("data")
    finally:
        del os.environ["LANNER_SHOULD_NOT_LEAK"]

    text = told.read_text()
    for option in (
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "ForwardAgent=no",
        "IdentitiesOnly=yes",
    ):
        assert option in text
    assert "LANNER_SHOULD_NOT_LEAK" not in text
    for secret in SECRETS.values():
        assert secret not in text


def test_stopping_ends_a_hanging_remote_at_once(world: World, server: GitServer) -> None:
    from namespaces.clock import SystemClock

    server.hang = True
    world.clock = SystemClock()
    service = world.make(world.config)
    service.start()
    reached = threading.Event()

    def wait_for_request() -> None:
        while not server.seen and not reached.wait(0.02):
            pass
        reached.set()

    threading.Thread(target=wait_for_request, daemon=True).start()
    assert reached.wait(30)
    started = time.monotonic()
    service.stop()

    assert time.monotonic() - started < 30  # far below the five minutes of the remote's timeout
