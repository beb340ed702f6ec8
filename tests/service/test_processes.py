"""`lanner serve` as a process: it starts or refuses in one sentence, reloads, drains and leaves nothing behind."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from namespaces.errors import BadRequest
from service import processes
from tests.support.servers import LannerServer, free_port, lanner, run_lanner
from tests.support.waiting import until


def test_roles_are_lists_with_commas_and_all_by_default() -> None:
    assert processes.parse_roles([]) == set(processes.ROLES)
    assert processes.parse_roles(["web,scheduler", "sync"]) == {"web", "scheduler", "sync"}
    with pytest.raises(BadRequest, match="there is no role 'wbe', did you mean 'web'"):
        processes.parse_roles(["wbe"])


def test_the_servers_secrets_leave_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANNER_SECRET_A", "SECRET_B", "DB_PASS", "ENV_C", "LANNER_TEST_X", "PATH_LIKE"):
        monkeypatch.setenv(name, "value")
    # Only the variables are of interest here: a test process must stay inspectable.
    monkeypatch.setattr(processes.sys, "platform", "test")

    processes.hide_environment(processes.take_environment(), {"DB_PASS"})

    left = {name for name in os.environ if os.environ[name] == "value"}
    assert left == {"ENV_C", "LANNER_TEST_X", "PATH_LIKE"}


def test_a_server_starts_answers_and_stops(tmp_path: Path) -> None:
    with LannerServer(tmp_path / "data with space") as server:
        assert server.call("GET", "flows/search") == {"results": [], "total": 0}
        assert server.stop() == 0


@pytest.mark.slow
def test_a_server_that_was_killed_starts_again(tmp_path: Path) -> None:
    first = LannerServer(tmp_path).start()
    first.stop(signal.SIGKILL)

    with LannerServer(tmp_path) as second:
        assert second.call("GET", "executions/search")["total"] == 0


@pytest.mark.slow
def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with LannerServer(tmp_path):
        done = run_lanner("serve", "--data", str(tmp_path), "--port", str(free_port()), "--auth", "none")

    assert done.returncode == 78
    assert "another Lanner server" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = run_lanner("serve", "--data", str(tmp_path), "--port", str(port), "--auth", "none")

    assert done.returncode == 78
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auth", "none", "--host", "0.0.0.0"], "auth.mode none is possible on a loopback address only"),
        (["--database", "postgresql://u:topsecret@127.0.0.1:1/x"], "postgresql://u:***@127.0.0.1:1/x cannot be used"),
        (["--database", "mysql://127.0.0.1/x"], "'mysql' is not supported"),
        (["--config", "/does/not/exist.yaml"], "exist.yaml cannot be read"),
        (["--role", "web,executor"], "roles without worker (executor, web) cannot work without dispatch.kind: celery"),
        (["--role", "worker"], "a worker by itself cannot work without dispatch.kind: celery"),
    ],
)
def test_a_start_that_cannot_work_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_lanner("serve", "--data", str(tmp_path), *arguments)

    assert done.returncode == 78
    assert message in done.stderr
    assert "topsecret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_user_a_token_is_printed_and_only_loopback_is_served(tmp_path: Path) -> None:
    port = free_port()
    process = lanner("serve", "--data", str(tmp_path), "--host", "0.0.0.0", "--port", str(port))
    try:
        assert process.stdout is not None
        lines = []
        while not any("set-up" in line for line in lines):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            lines.append(line)
        shown = "".join(lines)

        assert f"http://127.0.0.1:{port}/ui/setup with the token " in shown
        with pytest.raises(OSError), socket.create_connection((_other_address(), port), timeout=2):  # noqa: PT011
            pass
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=45)
    assert process.returncode == 0


def _other_address() -> str:
    # All of 127/8 is this machine: a server on 0.0.0.0 would answer here, one on 127.0.0.1 does not.
    return "127.0.0.2"


@pytest.mark.slow
def test_a_hang_up_reads_the_sources_again(tmp_path: Path) -> None:
    config = tmp_path / "lanner.yaml"
    config.write_text("git: {sources: []}\n")
    with LannerServer(tmp_path / "data", "--config", str(config)) as server:
        assert server.process is not None
        assert server.process.stderr is not None
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "was read again" in server.process.stderr.readline(), "the reload")  # type: ignore[union-attr]

        config.write_text("git: {sourcez: []}\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "git.sourcez is not a setting" in server.process.stderr.readline(), "the refusal")  # type: ignore[union-attr]

        assert server.call("GET", "flows/search")["total"] == 0


@pytest.mark.slow
def test_a_script_sees_none_of_the_servers_variables(tmp_path: Path) -> None:
    import json

    flow = b"""
id: dump
namespace: tests
tasks:
  - id: environment
    type: io.kestra.plugin.scripts.shell.Script
    outputFiles: [environment.txt]
    script: env > environment.txt
outputs:
  - id: seen
    type: STRING
    value: "{{ read(outputs.environment.outputFiles['environment.txt']) }}"
"""
    marker = "marker-that-must-not-leak"
    env = {"SECRET_A": "bWFya2Vy", "LANNER_SECRET_B": marker, "OTHER_PASSWORD": marker}
    with LannerServer(tmp_path, env=env) as server:
        server.call("POST", "flows", flow, "application/x-yaml")
        execution = server.call("POST", "executions/tests/dump?wait=true")

    assert execution["state"]["current"] == "SUCCESS", json.dumps(execution)
    assert marker not in execution["outputs"]["seen"]
    assert "LANNER_TASKRUN_ID" in execution["outputs"]["seen"]


@pytest.mark.slow
def test_local_runs_end_with_the_exit_code_of_the_flow(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("id: good\nnamespace: t\ntasks:\n  - {id: a, type: io.kestra.plugin.core.log.Log, message: hi}\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text("id: bad\nnamespace: t\ntasks:\n  - {id: a, type: io.kestra.plugin.core.log.Lgo, message: hi}\n")

    done = run_lanner("run", str(good))
    refused = run_lanner("run", str(bad))

    assert (done.returncode, refused.returncode) == (0, 1)
    assert "✓ SUCCESS" in done.stderr
    assert f"{bad}:4:" in refused.stderr
    assert "did you mean" in refused.stderr


@pytest.mark.slow
def test_nothing_of_a_server_is_left_running(tmp_path: Path) -> None:
    with LannerServer(tmp_path) as server:
        assert server.process is not None
        pid = server.process.pid
        children = _children(pid)
        server.stop()

    assert [child for child in children if _alive(child)] == []


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_figures_have_a_port_of_their_own_on_loopback(tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    port = free_port()
    with LannerServer(tmp_path, auth="basic", env={"LANNER_SERVER__MANAGEMENT_PORT": str(port)}) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"lanner_" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{server.url}/metrics", timeout=10)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/flows/search", timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        pytest.param(None, 0o644, "can be read by others", id="open to others"),
        pytest.param(b"", 0o600, "does not hold a key", id="empty"),
        pytest.param(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o600, "does not hold a key", id="example"),
    ],
)
def test_a_key_file_that_is_none_or_open_to_others_refuses_the_start(
    tmp_path: Path, content: bytes | None, mode: int, said: str
) -> None:
    path = tmp_path / "keys" / "secrets.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64encode(os.urandom(32)) if content is None else content)
    path.chmod(mode)

    done = run_lanner("serve", "--data", str(tmp_path), "--auth", "none", "--port", str(free_port()))

    assert done.returncode == 78
    assert said in done.stderr
    assert "Traceback" not in done.stderr
