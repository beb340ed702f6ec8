"""One contract for every way attempts reach workers: in this process, and Celery over RabbitMQ and Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from runner import routing
from runner.engine import events
from runner.engine.states import State
from runner.executions import StartRequest
from runner.view import load
from service import processes
from service.settings import Settings
from service.wiring import ALL_ROLES, Lanner, build
from tests.support import services

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
id: script
namespace: team
inputs:
  - {id: text, type: STRING, defaults: nothing}
tasks:
  - id: sh
    type: io.kestra.plugin.scripts.shell.Commands
    commands:
      - echo "{{ inputs.text }}" >> "%s"
      - 'echo "::{\\"outputs\\":{\\"n\\":3}}::"'
  - id: after
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.sh.vars.n }}"
"""
SLEEPER = """
id: sleeper
namespace: team
tasks:
  - {id: sleep, type: io.kestra.plugin.scripts.shell.Commands, commands: ["echo begun", "sleep 60"]}
"""
KINDS = [
    "inprocess",
    pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]),
    pytest.param("redis", marks=[pytest.mark.redis, pytest.mark.postgres]),
]


@pytest.fixture(params=KINDS)
def lanner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lanner]:
    """A running instance whose attempts travel this way; Celery's worker is a process of its own, as in life."""
    options: dict[str, Any] = {"data_dir": str(tmp_path / "data"), "auth": {"mode": "none"}}
    options["tasks"] = {"default_task_runner": "process"}
    options["limits"] = {"memory_bytes": "1TiB"}  # this process has run thousands of other tests
    roles = ALL_ROLES
    if request.param != "inprocess":
        url = services.RABBITMQ if request.param == "rabbitmq" else services.REDIS
        options["database"] = {"url": request.getfixturevalue("postgres_url")}
        options["dispatch"] = {"kind": "celery", "broker_url": services.require(request.param, url)}
        options["storage"] = {"url": str(tmp_path / "storage")}
        roles = ALL_ROLES - {"worker"}
    settings = Settings(**options)
    settings.data_dir.mkdir()
    processes.ensure_schema(settings)
    instance = build(settings, roles=roles, environ=dict(os.environ))
    instance.start()
    worker = None if "worker" in roles else worker_process(tmp_path, options)
    try:
        yield instance
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(20)
        instance.stop(drain_s=5, kill=True)
        instance.close()


def worker_process(folder: Path, options: dict[str, Any]) -> subprocess.Popen[bytes]:
    config = folder / "worker.yaml"
    config.write_text(yaml.safe_dump({**options, "data_dir": str(folder / "worker")}))
    return subprocess.Popen([sys.executable, "-m", "service", "worker", "--config", str(config)], cwd=ROOT)


def start(lanner: Lanner, flow_id: str, **inputs: str) -> str:
    return lanner.executions.start(StartRequest(namespace="team", flow_id=flow_id, inputs=inputs)).execution_id


def state(lanner: Lanner, execution_id: str) -> Any:
    event = events.Restart(at=lanner.clock.now())
    loaded = lanner.database.read(lambda c: load(c, execution_id, [event]))
    assert loaded is not None
    return loaded.value


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_an_attempt_runs_and_the_next_task_sees_its_outputs(lanner: Lanner, tmp_path: Path) -> None:
    lanner.registry.create(SCRIPT % (tmp_path / "out"))

    execution_id = start(lanner, "script", text="hello")

    assert lanner.executions.wait(execution_id, timeout_s=30)
    value = state(lanner, execution_id)
    assert value.state is State.SUCCESS
    assert [run.outputs for run in value.runs.values()][1] == {"value": "3"}
    assert (tmp_path / "out").read_text() == "hello\n"


def test_the_same_attempt_submitted_three_times_runs_once(lanner: Lanner, tmp_path: Path) -> None:
    lanner.registry.create(SCRIPT % (tmp_path / "out"))
    submit = lanner.dispatch.submit

    def thrice(task_run_id: str, epoch: int, group: str) -> None:
        for _ in range(3):
            submit(task_run_id, epoch, group)

    lanner.dispatch.submit = thrice  # type: ignore[method-assign]
    execution_id = start(lanner, "script", text="once")

    assert lanner.executions.wait(execution_id, timeout_s=30)
    assert state(lanner, execution_id).state is State.SUCCESS
    assert (tmp_path / "out").read_text() == "once\n"


def test_an_attempt_whose_message_was_lost_is_found_and_run(lanner: Lanner, tmp_path: Path) -> None:
    lanner.registry.create(SCRIPT % (tmp_path / "out"))
    submit = lanner.dispatch.submit
    lanner.dispatch.submit = lambda *_: None  # type: ignore[method-assign]
    execution_id = start(lanner, "script", text="late")
    until(lambda: bool(state(lanner, execution_id).runs))
    lanner.dispatch.submit = submit  # type: ignore[method-assign]

    lanner.executions.applier.drive(execution_id)

    assert lanner.executions.wait(execution_id, timeout_s=30)
    assert state(lanner, execution_id).state is State.SUCCESS


def test_a_running_attempt_is_killed_wherever_it_runs(lanner: Lanner) -> None:
    lanner.registry.create(SLEEPER)
    execution_id = start(lanner, "sleeper")
    until(lambda: [run.state for run in state(lanner, execution_id).runs.values()] == [State.RUNNING])

    lanner.executions.kill(execution_id)

    assert lanner.executions.wait(execution_id, timeout_s=30)
    value = state(lanner, execution_id)
    assert value.state is State.KILLED
    assert [run.state for run in value.runs.values()] == [State.KILLED]


def test_an_attempt_of_an_old_epoch_is_not_taken(lanner: Lanner, tmp_path: Path) -> None:
    lanner.registry.create(SCRIPT % (tmp_path / "out"))
    execution_id = start(lanner, "script", text="first")
    assert lanner.executions.wait(execution_id, timeout_s=30)
    run = next(iter(state(lanner, execution_id).runs.values()))

    assert lanner.worker.reporter.claim(run.id, run.epoch - 1, "stranger") is None
    assert lanner.worker.reporter.claim(run.id, run.epoch, "stranger") is None


GROUPED = """
id: grouped
namespace: team
tasks:
  - id: both
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: any, type: io.kestra.plugin.core.debug.Return, workerSelector: {tags: [gpu, big]}}
      - {id: one, type: io.kestra.plugin.core.debug.Return, workerGroup: {key: gpu}}
"""


def test_work_of_a_group_goes_to_its_workers(lanner: Lanner, tmp_path: Path) -> None:
    lanner.registry.create(GROUPED)
    failed = start(lanner, "grouped")
    assert lanner.executions.wait(failed, timeout_s=30)
    assert state(lanner, failed).state is State.FAILED, "no worker has these groups"
    if lanner.settings.dispatch.kind == "inprocess":
        return

    config = yaml.safe_load((tmp_path / "worker.yaml").read_text())
    (tmp_path / "group").mkdir()
    config["dispatch"]["groups"] = ["gpu", "big"]
    worker = worker_process(tmp_path / "group", config)
    try:
        until(lambda: bool(_workers_of(lanner, "gpu")))
        execution_id = start(lanner, "grouped")
        assert lanner.executions.wait(execution_id, timeout_s=30)
        value = state(lanner, execution_id)
    finally:
        worker.terminate()
        worker.wait(20)

    assert value.state is State.SUCCESS
    workers = {run.attempts[0].info["workerId"] for run in value.runs.values() if run.attempts}
    assert [*workers] == _workers_of(lanner, "gpu")


def _workers_of(lanner: Lanner, group: str) -> list[str]:
    rows = lanner.database.read(lambda c: c.execute(sa.select(routing.worker_table)).all())
    return [row.id for row in rows if group in row.groups]
