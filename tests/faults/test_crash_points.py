"""Every named crash point (``reliability.md`` 3.2): the server kills itself there, starts, and nothing is wrong."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from namespaces import crash
from tests.faults.chaos.audit import alive, marked
from tests.faults.chaos.monkey import descendants
from tests.support.gitrepo import GitRepo
from tests.support.servers import LannerServer
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
KEY = "crash-key-0123456789abcdef0123456789abcdef"
TERMINAL = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "SKIPPED", "RETRIED"}
LOG = "io.kestra.plugin.core.log.Log"

NOTE = 'note() { printf "%s\\n" "$1 $LANNER_TASKRUN_ID $LANNER_ATTEMPT $LANNER_EPOCH" >> LEDGER; }'

LEAF = """
id: leaf
namespace: crash
tasks:
  - {id: a, type: io.kestra.plugin.core.debug.Return, format: "1"}
"""

POINT = """
id: point
namespace: crash
triggers:
  - {id: hook, type: io.kestra.plugin.core.trigger.Webhook, key: KEY}
tasks:
  - id: script
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {type: io.kestra.plugin.core.runner.Process}
    script: |
      NOTE
      note start
      sleep 0.2
      echo '::{"outputs":{"said":"yes"}}::'
      note end
  - id: fan
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: one, type: io.kestra.plugin.core.debug.Return, format: "1"}
      - {id: two, type: io.kestra.plugin.core.debug.Return, format: "2"}
      - {id: three, type: io.kestra.plugin.core.debug.Return, format: "3"}
  - {id: child, type: io.kestra.plugin.core.flow.Subflow, namespace: crash, flowId: leaf}
  - id: flaky
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {type: io.kestra.plugin.core.runner.Process}
    retry: {type: constant, interval: PT0.2S, maxAttempts: 5}
    script: |
      NOTE
      note start
      if [ "$LANNER_ATTEMPT" -lt 1 ]; then exit 1; fi
      note end
outputs:
  - {id: said, type: STRING, value: "{{ outputs.script.vars.said }}"}
"""

LONG = """
id: long
namespace: crash
tasks:
  - id: script
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {type: io.kestra.plugin.core.runner.Process}
    script: |
      NOTE
      note start
      sleep SECONDS
      note end
"""

TWO = """
id: two
namespace: crash
tasks:
  - id: first
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {type: io.kestra.plugin.core.runner.Process}
    script: |
      NOTE
      note start
  - id: second
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {type: io.kestra.plugin.core.runner.Process}
    script: |
      NOTE
      note start
"""

FILES = """
id: files
namespace: crash
tasks:
  - {id: write, type: io.kestra.plugin.core.storage.Write, content: hello}
"""

TICKS = """
id: ticks
namespace: crash
triggers:
  - {id: tick, type: io.kestra.plugin.core.trigger.Schedule, cron: "* * * * * *", withSeconds: true}
tasks:
  - {id: a, type: io.kestra.plugin.core.debug.Return, format: "1"}
"""

# Points that the flow `point` passes by itself once it is called.
ON_THE_WAY = (
    "accept.before_commit",
    "accept.after_commit",
    "outbox.before_publish",
    "outbox.after_publish",
    "claim.after_commit",
    "spawn.after_fork",
    "spawn.after_register",
    "run.middle",
    "result.after_spool",
    "result.before_commit",
    "result.after_commit",
    "advance.middle_fanout",
    "retry.after_schedule",
)
OTHERS = (
    "kill.after_commit",
    "purge.after_rows",
    "drain.middle",
    "adopt.middle",
    "fire.before_commit",
    "fire.after_commit",
    "leader.after_win",
    "sync.after_fetch",
    "sync.middle_apply",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Site:
    """One data folder and database, a ledger, and the servers that come and go on them."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.arguments = ["--database", database_url] if database_url else []
        self.env: dict[str, str] = {}
        self.server: LannerServer | None = None
        self.seen: list[tuple[int, str]] = []

    def start(self, point: str = "") -> LannerServer:
        """A server that dies at the point (before it is ready or after: wait with ``died``), or one that lives."""
        switches = {"LANNER_TEST": "1", "LANNER_TEST_CRASH": point} if point else {}
        self.server = LannerServer(self.data, *self.arguments, env=self.env | switches)
        try:
            return self.server.start()
        except AssertionError:
            if not point:
                raise
            return self.server

    def died(self) -> None:
        """Wait for the death at the point, and no other end."""
        assert self.server is not None
        assert self.server.process is not None
        process = self.server.process
        try:
            _, errors = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError("the point was never reached") from None
        assert process.returncode == -signal.SIGKILL, errors
        assert "Traceback" not in errors

    def note_processes(self) -> None:
        assert self.server is not None
        assert self.server.process is not None
        self.seen += descendants(self.server.process.pid)

    def deploy(self, *texts: str) -> None:
        for text in texts:
            filled = dedent(text).replace("KEY", KEY)
            filled = re.sub("^( *)NOTE$", lambda m: m[1] + NOTE, filled, flags=re.M)
            filled = filled.replace("LEDGER", f'"{self.ledger}"')
            self.call("POST", "flows", filled.encode(), "application/x-yaml")

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        assert self.server is not None
        return self.server.call(method, path, body, kind)

    def deliver(self, key: str = "k-1") -> str:
        """Call the webhook; returns the execution's id. Raises ``OSError`` when the server dies meanwhile."""
        assert self.server is not None
        request = urllib.request.Request(
            f"{self.server.url}/api/v1/executions/webhook/crash/point/{KEY}",
            json.dumps({"key": key}).encode(),
            {"Content-Type": "application/json", "Idempotency-Key": key},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: str = json.load(answer)["id"]
            return found

    def executions(self, flow: str) -> list[dict[str, Any]]:
        found = self.call("GET", f"executions/search?namespace=crash&flowId={flow}&size=100")["results"]
        return [self.call("GET", f"executions/{one['id']}") for one in found]

    def ended(self, execution_id: str, timeout_s: float = 60) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            one: dict[str, Any] = self.call("GET", f"executions/{execution_id}")
            return one if one["state"]["current"] in TERMINAL else None

        return until(look, f"the end of {execution_id}", timeout_s)

    def lines(self, what: str) -> list[str]:
        return [line for line in self.ledger.read_text().splitlines() if line.startswith(what)]

    def close(self) -> None:
        """Stop; nothing of any of the servers may be left."""
        if self.server is not None and self.server.process is not None and self.server.process.poll() is None:
            self.note_processes()
            self.server.stop()
        until(lambda: not alive(self.seen) and not marked(self.data), "the end of every process", 10)
        spool = self.data / "spool" / "local"
        assert [path for path in spool.iterdir() if path.is_dir()] == [] if spool.exists() else True


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else None
    made = Site(tmp_path, url)
    yield made
    if made.server is not None and made.server.process is not None and made.server.process.poll() is None:
        made.server.process.kill()
        made.server.process.communicate()


def test_every_point_in_the_code_has_a_test_and_every_test_a_point() -> None:
    reached = Counter(point for path in _sources() for point in _reached(path))

    assert set(reached) == crash.POINTS
    assert set(ON_THE_WAY) | set(OTHERS) == crash.POINTS


def _sources() -> Iterator[Path]:
    for room in ("namespaces", "sync", "runner", "service"):
        yield from (ROOT / room).rglob("*.py")


def _reached(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "crash.reach":
            yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("point", ON_THE_WAY)
def test_a_run_that_dies_on_the_way_ends_as_if_nothing_had_happened(site: Site, point: str) -> None:
    site.start(point)
    site.deploy(LEAF, POINT)
    told = None
    with contextlib.suppress(OSError, urllib.error.URLError):
        told = site.deliver()
    site.died()

    site.start()
    again = site.deliver()
    execution = site.ended(again)

    assert told in (None, again)
    assert len(site.executions("point")) == 1
    assert len(site.executions("leaf")) == 1
    assert execution["state"]["current"] == "SUCCESS", execution
    assert execution["outputs"] == {"said": "yes"}
    _all_once(site, execution)
    site.close()


def test_a_claim_that_came_with_the_end_before_it_outlives_the_crash(site: Site) -> None:
    """The end of the first script is recorded, the second one is held by the dead worker and never began."""
    site.start("claim.after_commit:2")
    site.deploy(TWO)
    execution_id = site.call("POST", "executions/crash/two")["id"]
    site.died()

    site.start()
    execution = site.ended(execution_id)

    assert execution["state"]["current"] == "SUCCESS", execution
    first, second = sorted(execution["taskRunList"], key=lambda run: str(run["taskId"]))
    assert [attempt["state"]["current"] for attempt in first["attempts"]] == ["SUCCESS"]
    assert [attempt["state"]["current"] for attempt in second["attempts"]] == ["RESUBMITTED", "SUCCESS"]
    assert [line.split()[1] for line in site.lines("start")] == [first["id"], second["id"]]
    site.close()


def _all_once(site: Site, execution: dict[str, Any]) -> None:
    runs = Counter(run["taskId"] for run in execution["taskRunList"])
    assert runs == Counter(["script", "fan", "one", "two", "three", "child", "flaky"])
    starts = Counter(tuple(line.split()[1:]) for line in site.lines("start"))
    assert max(starts.values()) == 1, starts
    by_task = {run["taskId"]: run for run in execution["taskRunList"]}
    for name, failures in (("script", 0), ("flaky", 1)):
        run = by_task[name]
        began = [line for line in site.lines("start") if run["id"] in line]
        lost = sum(attempt["state"]["current"] == "RESUBMITTED" for attempt in run["attempts"])
        assert len(began) <= 1 + failures + lost, (began, run["attempts"])
        assert len([line for line in site.lines("end") if run["id"] in line]) == 1


def test_a_kill_that_was_decided_is_carried_out_after_the_crash(site: Site) -> None:
    site.start("kill.after_commit")
    site.deploy(LONG.replace("SECONDS", "100"))
    execution_id = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    site.note_processes()
    with contextlib.suppress(OSError):
        site.call("DELETE", f"executions/{execution_id}/kill")
    site.died()

    site.start()

    assert site.ended(execution_id)["state"]["current"] == "KILLED"
    assert len(site.lines("start")) == 1
    site.close()


def test_files_of_a_deleted_execution_go_after_the_crash_too(site: Site) -> None:
    site.start("purge.after_rows")
    site.deploy(FILES)
    execution = site.call("POST", "executions/crash/files?wait=true")
    folder = next(path for path in site.data.rglob(execution["id"]) if path.is_dir())
    with contextlib.suppress(OSError):
        site.call("DELETE", f"executions/{execution['id']}")
    site.died()

    site.start()

    with pytest.raises(urllib.error.HTTPError, match="404"):
        site.call("GET", f"executions/{execution['id']}")
    until(lambda: not folder.exists(), "the files to go")
    site.close()


def test_a_server_killed_while_it_drains_leaves_its_scripts_to_the_next(site: Site) -> None:
    site.env = {"LANNER_SERVER__DRAIN": "1s"}
    site.start("drain.middle")
    site.deploy(LONG.replace("SECONDS", "4"))
    execution_id = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None
    assert site.server.process is not None
    site.server.process.terminate()
    site.died()

    site.start()

    assert site.ended(execution_id)["state"]["current"] == "SUCCESS"
    assert (len(site.lines("start")), len(site.lines("end"))) == (1, 1)
    site.close()


def test_a_server_killed_while_it_adopts_leaves_its_scripts_to_the_next(site: Site) -> None:
    site.start()
    site.deploy(LONG.replace("SECONDS", "8"))
    execution_id = site.call("POST", "executions/crash/long")["id"]
    until(lambda: site.lines("start"), "the script")
    assert site.server is not None
    site.server.stop(signal.SIGKILL)
    site.start("adopt.middle")
    site.died()

    site.start()

    assert site.ended(execution_id)["state"]["current"] == "SUCCESS"
    assert (len(site.lines("start")), len(site.lines("end"))) == (1, 1)
    site.close()


@pytest.mark.parametrize("point", ["fire.before_commit", "fire.after_commit", "leader.after_win"])
def test_no_moment_of_a_schedule_is_lost_or_doubled(site: Site, point: str) -> None:
    if point == "leader.after_win":
        site.start()
        site.deploy(TICKS)
        until(lambda: site.executions("ticks"), "the first fire")
        assert site.server is not None
        site.server.stop(signal.SIGKILL)
        site.start(point)
    else:
        site.start(point)
        with contextlib.suppress(OSError):
            site.deploy(TICKS)
    site.died()

    site.start()

    def fires() -> list[str]:
        return sorted(one["trigger"]["variables"]["date"] for one in site.executions("ticks"))

    until(lambda: len(fires()) >= 6, "six fires", 40)
    moments = fires()
    seconds = [time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) for moment in moments]
    assert len(set(moments)) == len(moments)
    assert [later - earlier for earlier, later in itertools.pairwise(seconds)] == [1.0] * (len(seconds) - 1)
    site.server.stop()  # type: ignore[union-attr]


@pytest.mark.parametrize("point", ["sync.after_fetch", "sync.middle_apply"])
def test_a_commit_is_applied_wholly_or_not_at_all(site: Site, point: str, git_repo: GitRepo) -> None:
    names = [f"flow{number}" for number in range(5)]
    text = f"id: NAME\nnamespace: crash\ntasks:\n  - {{id: a, type: {LOG}, message: hi}}\n"
    git_repo.commit({f"namespaces/crash/flows/{name}.yaml": text.replace("NAME", name) for name in names})
    config = site.folder / "lanner.yaml"
    config.write_text(
        dedent(f"""
        git:
          allow_file_urls: true
          sources:
            - {{name: main, url: "{git_repo.url}", ref: {{branch: main}}, poll: 1s, namespaces: [crash]}}
        """)
    )
    site.arguments += ["--config", str(config)]
    visible: Callable[[], int] = lambda: site.call("GET", "flows/search?namespace=crash")["total"]  # noqa: E731
    site.start(point)
    site.died()

    site.start()

    assert visible() in (0, 5)
    until(lambda: visible() == 5, "the commit")
    assert all(site.call("GET", f"flows/crash/{name}")["revision"] == 1 for name in names)
    site.close()
