"""A server is killed and started again: its scripts go on, and none is run twice (``reliability.md`` R6)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.states import State
from runner.worker.bare.processes import marked
from runner.worker.limits import Limits
from tests.runner.worker.world import Bench

ROOT = Path(__file__).resolve().parents[3]
SHELL = "io.kestra.plugin.scripts.shell.Commands"


class Owner:
    """A worker process that can be killed."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path
        self.ledger = tmp_path / "ledger"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, tasks: str, count: int = 1, **env: str) -> None:
        flow = self.root / "tasks.yaml"
        flow.write_text(tasks)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/runner/worker/owner.py"), str(self.root), str(flow), str(count)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        if not env:
            assert self.process.stdout.readline() == b"started\n"

    def wait_for(self, lines: int) -> None:
        self.until(lambda: len(self.written()) >= lines)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, self.written()
            time.sleep(0.02)

    def written(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path)
    yield made
    made.close()


def script(owner: Owner, after: str, more: str = "") -> str:
    """Writes ``start`` to the ledger, waits for ``<root>/go``, then goes on."""
    lines = [
        f"echo start $LANNER_TASKRUN_ID $LANNER_EPOCH >> {owner.ledger}",
        "echo before",
        f"while [ ! -e {owner.root}/go ]; do sleep 0.02; done",
        *after.split("\n"),
        f"echo end $LANNER_TASKRUN_ID >> {owner.ledger}",
    ]
    listed = "".join(f"      - {json.dumps(line)}\n" for line in lines)
    return f"  - id: sh\n    type: {SHELL}\n{more}    commands:\n{listed}"


def adopt(bench: Bench) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in bench.runner.adopt()]
    for thread in threads:
        thread.start()
    return threads


def test_running_scripts_are_taken_over_and_none_starts_twice(owner: Owner) -> None:
    tasks = script(owner, 'echo \'::{"outputs":{"n":4}}::\'\necho x > out.txt', '    outputFiles: ["*.txt"]\n')
    owner.start(tasks, 4)
    owner.wait_for(4)
    owner.kill()
    bench = Bench(owner.root)
    for number in range(4):
        bench.claim(tasks, number=number)
    threads = adopt(bench)
    assert len(threads) == 4
    (owner.root / "go").touch()
    for thread in threads:
        thread.join(20)
    ends = bench.reporter.ends
    assert {key: end.state for key, end in ends.items()} == {(bench.tr(n), 1): State.SUCCESS for n in range(4)}
    assert ends[bench.tr(0), 1].outputs["vars"] == {"n": 4}
    assert bench.text(ends[bench.tr(0), 1].outputs["outputFiles"]["out.txt"]) == "x\n"
    assert sorted(line for line in owner.written() if line.startswith("start")) == [
        f"start {bench.tr(n)} 1" for n in range(4)
    ]
    assert bench.reporter.messages() == ["before"] * 4
    assert sorted(entry.name for entry in bench.spawner.root.iterdir()) == ["heartbeat"]
    bench.close()


def test_a_script_that_ended_meanwhile_is_reported_and_not_run_again(owner: Owner) -> None:
    tasks = script(owner, "exit 4")
    owner.start(tasks)
    owner.wait_for(1)
    owner.kill()
    (owner.root / "go").touch()
    bench = Bench(owner.root)
    owner.until(lambda: (owner.root / f"spool/{bench.tr(0)}-1/result.json").exists())
    bench.claim(tasks, number=0)
    for thread in adopt(bench):
        thread.join(20)
    assert bench.reporter.ends[bench.tr(0), 1].error == "Command failed with exit code 4"
    assert owner.written() == [f"start {bench.tr(0)} 1"]
    bench.close()


def test_an_attempt_that_nobody_wants_any_more_is_ended_and_removed(owner: Owner) -> None:
    owner.start(script(owner, "true"))
    owner.wait_for(1)
    owner.kill()
    bench = Bench(owner.root)
    assert bench.runner.adopt() == []
    assert marked(bench.tr(0), 1) == []
    assert not (owner.root / f"spool/{bench.tr(0)}-1").exists()
    bench.close()


def test_an_adopted_script_can_be_killed(owner: Owner) -> None:
    tasks = script(owner, "true")
    owner.start(tasks)
    owner.wait_for(1)
    owner.kill()
    bench = Bench(owner.root)
    bench.claim(tasks, number=0)
    (thread,) = adopt(bench)
    owner.until(lambda: bench.runner.live() == [(bench.tr(0), 1)])
    assert bench.runner.cancel(bench.tr(0), 1)
    thread.join(20)
    assert bench.reporter.ends[bench.tr(0), 1].state is State.KILLED
    assert marked(bench.tr(0), 1) == []
    bench.close()


def test_lines_seen_by_both_owners_are_kept_once(owner: Owner) -> None:
    tasks = script(owner, "seq 500")
    owner.start(tasks)
    owner.wait_for(1)
    owner.kill()
    bench = Bench(owner.root)
    claim = bench.claim(tasks, number=0)
    (owner.root / "go").touch()
    owner.until(lambda: (owner.root / f"spool/{bench.tr(0)}-1/result.json").exists())
    spool = {
        entry.name: entry.read_bytes() for entry in (owner.root / f"spool/{bench.tr(0)}-1").iterdir() if entry.is_file()
    }
    for thread in adopt(bench):
        thread.join(20)
    first = list(bench.reporter.lines)
    del bench.reporter.ends[bench.tr(0), 1]
    again = bench.spawner.folder(bench.tr(0), 1)
    for name, content in spool.items():
        (again / name).write_bytes(content)
    bench.reporter.offer(replace(claim))
    for thread in adopt(bench):
        thread.join(20)
    assert bench.reporter.lines == first
    assert [line.message for line in first][-500:] == [str(n) for n in range(1, 501)]
    bench.close()


def test_without_an_owner_the_script_is_ended_after_its_time(owner: Owner) -> None:
    bench = Bench(owner.root, limits=Limits(heartbeat_s=3600, orphan_after_s=0.5, kill_grace_s=0.2))
    end = bench.run(script(owner, "true"))
    assert end.state is State.FAILED
    assert end.error == "killed: its worker was away for too long"
    assert marked(bench.tr(), 1) == []
    bench.close()


def test_a_process_id_that_was_given_to_somebody_else_is_not_signalled(owner: Owner) -> None:
    bench = Bench(owner.root)
    sleeper = subprocess.Popen(["sleep", "60"])
    folder = bench.spawner.folder("tr9", 1)
    (folder / "spec.json").write_text(json.dumps({"task_run_id": "tr9", "epoch": 1, "after": {}}))
    (folder / "pid").write_text(json.dumps({"pid": sleeper.pid, "start": "1", "boot": "other"}))
    (found,) = bench.spawner.adoptable()
    assert not found.alive()
    found.stop()
    found.kill()
    assert sleeper.poll() is None
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    bench.close()


@pytest.mark.parametrize("point", ["spawn.after_fork", "spawn.after_register", "run.middle", "result.after_spool"])
def test_a_crash_at_any_point_leads_to_one_end_and_at_most_one_start(owner: Owner, point: str) -> None:
    (owner.root / "go").touch()
    tasks = script(owner, "echo done")
    owner.start(tasks, LANNER_TEST="1", LANNER_TEST_CRASH=point)
    assert owner.process is not None
    assert owner.process.wait(30) == -signal.SIGKILL
    bench = Bench(owner.root)
    bench.claim(tasks, number=0)
    for thread in adopt(bench):
        thread.join(20)
    starts = [line for line in owner.written() if line.startswith("start")]
    if point == "run.middle":  # no process existed yet: the reconciler assigns the attempt again
        assert starts == []
    else:
        assert starts == [f"start {bench.tr(0)} 1"]
        assert bench.reporter.ends[bench.tr(0), 1].state is State.SUCCESS
    bench.close()


def test_a_crash_while_adopting_loses_nothing(owner: Owner) -> None:
    tasks = script(owner, "true")
    owner.start(tasks)
    owner.wait_for(1)
    owner.kill()
    code = (
        "import sys; from pathlib import Path; from tests.runner.worker.world import Bench\n"
        "bench = Bench(Path(sys.argv[1])); bench.claim(Path(sys.argv[2]).read_text(), number=0); bench.runner.adopt()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LANNER_TEST": "1", "LANNER_TEST_CRASH": "adopt.middle"}
    done = subprocess.run([sys.executable, "-c", code, str(owner.root), str(owner.root / "tasks.yaml")], env=env)
    assert done.returncode == -signal.SIGKILL
    bench = Bench(owner.root)
    bench.claim(tasks, number=0)
    threads = adopt(bench)
    (owner.root / "go").touch()
    for thread in threads:
        thread.join(20)
    assert bench.reporter.ends[bench.tr(0), 1].state is State.SUCCESS
    bench.close()


def test_a_block_goes_on_with_the_child_that_was_at_work(owner: Owner) -> None:
    kind = f"        type: {SHELL}\n"
    first = f"      - id: first\n{kind}        commands: ['echo once >> {owner.ledger}', 'echo f > file']\n"
    waits = script(owner, "cat file").replace("id: sh", "id: second").splitlines()
    second = "".join(f"    {line}\n" for line in waits)
    third = f"      - id: third\n{kind}        commands: ['echo {{{{ outputs.first.exitCode }}}} third']\n"
    tasks = f"  - id: wd\n    type: io.kestra.plugin.core.flow.WorkingDirectory\n    tasks:\n{first}{second}{third}"
    owner.start(tasks)
    owner.wait_for(2)
    owner.kill()
    bench = Bench(owner.root)
    bench.claim(tasks, number=0)
    threads = adopt(bench)
    assert len(threads) == 1
    (owner.root / "go").touch()
    threads[0].join(20)
    end = bench.reporter.ends[bench.tr(0), 1]
    assert [(child.task_id, child.state) for child in end.children] == [
        ("first", State.SUCCESS),
        ("second", State.SUCCESS),
        ("third", State.SUCCESS),
    ]
    assert [line.partition(" ")[0] for line in owner.written()] == ["once", "start", "end"]
    assert {"f", "0 third"} <= set(bench.reporter.messages())
    assert sorted(entry.name for entry in bench.spawner.root.iterdir()) == ["heartbeat"]
    bench.close()
