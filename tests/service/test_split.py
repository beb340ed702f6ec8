"""The parts of a server as processes of their own: PostgreSQL for state, a broker as the bell, workers beside."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import LannerServer, lanner
from tests.support.waiting import until

FLOW = b"""
id: split
namespace: tests
tasks:
  - id: all
    type: io.kestra.plugin.core.flow.ForEach
    values: [1, 2, 3, 4]
    concurrencyLimit: 0
    tasks:
      - id: script
        type: io.kestra.plugin.scripts.shell.Script
        script: echo '::{"outputs":{"pid":'$PPID'}}::'
  - id: log
    type: io.kestra.plugin.core.log.Log
    message: done
"""


@pytest.fixture(
    params=[
        pytest.param("rabbitmq_url", marks=pytest.mark.rabbitmq),
        pytest.param("redis_url", marks=pytest.mark.redis),
    ]
)
def settings(request: pytest.FixtureRequest, tmp_path: Path, postgres_url: str) -> Path:
    """A configuration that all processes share."""
    config = tmp_path / "lanner.yaml"
    config.write_text(
        f"data_dir: {tmp_path / 'data'}\n"
        f"database: {{url: '{postgres_url}'}}\n"
        f"dispatch: {{kind: celery, broker_url: '{request.getfixturevalue(request.param)}'}}\n"
    )
    return config


@pytest.fixture
def split(settings: Path, tmp_path: Path) -> Iterator[LannerServer]:
    server = LannerServer(tmp_path / "data", "--config", str(settings), "--role", "web,scheduler,executor,sync")
    with server:
        worker = lanner("worker", "--config", str(settings))
        try:
            yield server
        finally:
            worker.send_signal(signal.SIGTERM)
            out, err = worker.communicate(timeout=50)
            assert worker.returncode == 0, out + err


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_work_goes_from_the_server_to_a_worker_and_back(split: LannerServer) -> None:
    split.call("POST", "flows", FLOW, "application/x-yaml")

    started = split.call("POST", "executions/tests/split")
    execution = until(
        lambda: (
            (found := split.call("GET", f"executions/{started['id']}"))["state"]["current"] in {"SUCCESS", "FAILED"}
            and found
        ),
        "the end of the execution",
        60,
    )

    assert execution["state"]["current"] == "SUCCESS"
    scripts = [run for run in execution["taskRunList"] if run["taskId"] == "script"]
    assert len(scripts) == 4
    assert all(run["outputs"]["vars"]["pid"] for run in scripts)
