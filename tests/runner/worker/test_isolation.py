"""The stronger levels of the process runner: a PID namespace, a user of its own (``reliability.md`` R9, S17)."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from runner.engine.states import State
from runner.worker.bare.processes import marked
from runner.worker.supervisor import User
from tests.runner.worker.world import Bench

SHELL = "io.kestra.plugin.scripts.shell.Commands"
NAMESPACES = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0


def commands(*lines: str) -> str:
    return f"  - id: sh\n    type: {SHELL}\n    commands: [{', '.join(repr(line) for line in lines)}]\n"


@pytest.mark.skipif(not NAMESPACES, reason="this host gives no PID namespaces")
def test_in_a_pid_namespace_a_script_sees_only_itself(bench: Bench) -> None:
    bench.spawner.pid_namespace = True
    end = bench.run(commands("echo me $$", "echo all $(ls /proc | grep -c ^[0-9])", "exit 3"))
    assert end.info["isolation"] == "pid namespace"
    assert end.outputs["exitCode"] == 3
    me, everything = (int(message.split()[1]) for message in bench.reporter.messages()[:2])
    assert me == 2
    assert everything < 6


@pytest.mark.skipif(not NAMESPACES, reason="this host gives no PID namespaces")
def test_when_the_supervisor_of_a_pid_namespace_dies_everything_dies(bench: Bench) -> None:
    bench.spawner.pid_namespace = True
    end = bench.run(commands("setsid sleep 600 > /dev/null 2>&1 & kill -9 $$"))
    assert end.outputs["exitCode"] == 128 + signal.SIGKILL
    assert marked(bench.tr(), 1) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run scripts as somebody else")
def test_scripts_may_run_as_another_user(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path
    while place != place.parent and str(place).startswith("/tmp/"):
        place.chmod(0o711)
        place = place.parent
    bench.spawner.user = User(65534, 65534)
    bench.spawner.root.mkdir(mode=0o711)
    end = bench.run(
        commands("id -u", "echo x > own.txt", f"cat {tmp_path}/spool/*/spec.json 2>/dev/null || echo closed")
    )
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert bench.reporter.messages() == ["65534", "closed"]
