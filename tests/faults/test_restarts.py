"""R6, R22: scripts live through the server's restart, and SIGTERM lets what runs come to its end."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_crash_points import LONG, Site
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SCRIPTS = 20


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made = Site(tmp_path, None)
    yield made
    if made.server is not None and made.server.process is not None and made.server.process.poll() is None:
        made.server.process.kill()
        made.server.process.communicate()


def starts(site: Site) -> Counter[str]:
    return Counter(line.split()[1] for line in site.lines("start"))


def test_scripts_live_through_a_kill_and_each_runs_once(site: Site) -> None:
    site.env = {"LANNER_LIMITS__SUBPROCESSES": str(SCRIPTS)}
    site.start()
    site.deploy(LONG.replace("SECONDS", "12"))
    started = [site.call("POST", "executions/crash/long")["id"] for _ in range(SCRIPTS)]
    until(lambda: len(starts(site)) == SCRIPTS, "twenty scripts", 60)
    assert site.server is not None
    site.note_processes()
    site.server.stop(signal.SIGKILL)

    site.start()

    ended = [site.ended(one) for one in started]
    assert {one["state"]["current"] for one in ended} == {"SUCCESS"}
    assert set(starts(site).values()) == {1}
    assert len(site.lines("end")) == SCRIPTS
    assert all(len(one["taskRunList"][0]["attempts"]) == 1 for one in ended)
    site.close()


def test_a_script_that_ended_while_nobody_was_there_is_not_run_again(site: Site) -> None:
    site.start()
    site.deploy(LONG.replace("SECONDS", "3"))
    one = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None
    site.server.stop(signal.SIGKILL)
    until(lambda: site.lines("end"), "its end")

    site.start()

    assert site.ended(one)["state"]["current"] == "SUCCESS"
    assert len(site.lines("start")) == 1
    site.close()


def test_a_terminated_server_waits_for_what_runs_and_ends_well(site: Site) -> None:
    site.start()
    site.deploy(LONG.replace("SECONDS", "3"))
    one = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None

    assert site.server.stop(signal.SIGTERM) == 0

    assert len(site.lines("end")) == 1
    site.start()
    assert site.ended(one)["state"]["current"] == "SUCCESS"
    assert len(site.lines("start")) == 1
    site.close()


def test_a_task_that_fails_while_the_server_drains_ends_failed(site: Site) -> None:
    site.start()
    site.deploy(LONG.replace("note end", "exit 3").replace("SECONDS", "2"))
    one = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None

    assert site.server.stop(signal.SIGTERM) == 0

    site.start()
    assert site.ended(one)["state"]["current"] == "FAILED"
    assert len(site.lines("start")) == 1
    site.close()


def test_a_second_signal_ends_the_drain_and_loses_nothing(site: Site) -> None:
    site.start()
    site.deploy(LONG.replace("SECONDS", "6"))
    one = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None
    assert site.server.process is not None
    assert site.server.process.stderr is not None
    site.server.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in site.server.process.stderr.readline(), "the drain")  # type: ignore[union-attr]

    assert site.server.stop(signal.SIGTERM) == 128 + signal.SIGTERM

    site.start()
    assert site.ended(one)["state"]["current"] == "SUCCESS"
    assert (len(site.lines("start")), len(site.lines("end"))) == (1, 1)
    site.close()


def test_draining_with_kill_ends_the_scripts_and_runs_them_again(site: Site) -> None:
    site.arguments += ["--drain", "kill"]
    site.start()
    site.deploy(LONG.replace("SECONDS", "5"))
    one = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    site.note_processes()
    assert site.server is not None

    assert site.server.stop(signal.SIGTERM) == 0
    assert site.lines("end") == []

    site.start()
    ended = site.ended(one)
    assert ended["state"]["current"] == "SUCCESS"
    assert (len(site.lines("start")), len(site.lines("end"))) == (2, 1)
    site.close()
