"""Scripts in containers. The engine is the one that LANNER_TEST_DOCKER_HOST names; no test looks for another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.engine.states import State
from runner.plugin import RunFailed
from runner.worker.bare.processes import marked
from runner.worker.running import TaskSettings
from runner.worker.taskrunners import choice, containers
from runner.worker.taskrunners.choice import DOCKER, PROCESS, choose
from tests.runner.worker.world import Bench

ROOT = Path(__file__).resolve().parents[3]
IMAGE = os.environ.get("LANNER_TEST_DOCKER_IMAGE", "localhost/busybox:test")
RUNNER = {"type": DOCKER, "pullPolicy": "NEVER"}


# -- which runner --------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine at the usual places, and no memory of one."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(choice, "_usual", lambda: [f"unix://{tmp_path}/usual.sock"])
    monkeypatch.setattr(choice, "_known", {})


class Engine:
    """A socket that answers pings as an engine does."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            with link:
                self.asked.append(link.recv(4096).split(b"\r\n")[0])
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def answering(tmp_path: Path, nothing_usual: None) -> Iterator[Engine]:
    made = Engine(tmp_path / "engine.sock")
    yield made
    made.close()


def test_auto_takes_the_engine_that_answers_and_says_so(answering: Engine) -> None:
    settings = TaskSettings(docker_host=answering.host)

    chosen = choose(None, None, "ubuntu", settings)

    assert chosen == choice.Choice(DOCKER, f"an engine answers at {answering.host}", engine=answering.host)
    assert choose(None, None, None, settings) == chosen
    assert answering.asked == [b"GET /_ping HTTP/1.1"]


@pytest.mark.usefixtures("nothing_usual")
def test_auto_without_an_engine_is_a_process_and_warns_of_an_ignored_image() -> None:
    chosen = choose(None, None, None, TaskSettings())

    assert chosen == choice.Choice(PROCESS, "no container engine is reachable")
    assert choose(None, None, "ubuntu", TaskSettings()).warn


def test_auto_does_not_use_an_engine_elsewhere(monkeypatch: pytest.MonkeyPatch, nothing_usual: None) -> None:
    monkeypatch.setattr(choice, "_known", {"tcp://127.0.0.1:1": (time.monotonic(), "tcp://127.0.0.1:1")})

    chosen = choose(None, None, None, TaskSettings(docker_host="tcp://127.0.0.1:1"))

    assert chosen.type == PROCESS
    assert "not on this machine" in chosen.reason


def test_the_usual_places_begin_with_what_docker_itself_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choice, "_known", {})
    made = Engine(tmp_path / "named.sock")
    monkeypatch.setenv("DOCKER_HOST", made.host)

    assert choose(None, None, None, TaskSettings()).engine == made.host
    made.close()


def test_the_setting_decides_when_the_task_names_no_runner(answering: Engine) -> None:
    process = TaskSettings(default_task_runner="process", docker_host=answering.host)
    docker = TaskSettings(default_task_runner="docker", docker_host=answering.host)

    assert choose(None, None, None, process).type == PROCESS
    assert choose(None, None, None, docker).reason == "tasks.default_task_runner is docker"
    assert choose({"type": PROCESS}, None, None, docker).type == PROCESS
    assert choose(None, "PROCESS", None, docker).type == PROCESS
    assert choose(None, "DOCKER", None, process).engine == answering.host
    assert choose(RUNNER, None, None, process).reason == "named by the task"


def test_without_the_library_auto_falls_back_and_a_named_runner_fails(
    answering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    settings = TaskSettings(docker_host=answering.host)

    chosen = choose(None, None, None, settings)

    assert (chosen.type, "lanner[docker] is not installed" in chosen.reason) == (PROCESS, True)
    with pytest.raises(RunFailed) as caught:
        choose(RUNNER, None, None, settings)
    assert caught.value.code == "docker_extra_missing"


@pytest.mark.usefixtures("nothing_usual")
@pytest.mark.parametrize(
    ("host", "code"), [("tcp://127.0.0.1:1", "containers_remote"), ("unix:///nowhere", "no_container_engine")]
)
def test_an_engine_that_cannot_be_used_fails_with_one_line(host: str, code: str) -> None:
    with pytest.raises(RunFailed) as caught:
        choose({**RUNNER, "host": host}, None, None, TaskSettings())
    assert caught.value.code == code
    assert host in str(caught.value)


# -- refusals, before any container --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "setting"),
    [({"volumes": ["/etc:/mnt"]}, "tasks.docker.volumes"), ({"privileged": True}, "tasks.docker.privileged")],
)
def test_what_only_an_operator_allows_is_refused(answering: Engine, bench: Bench, options: Any, setting: str) -> None:
    end = bench.run(shell("echo never", taskRunner={**RUNNER, "host": answering.host, **options}))

    assert end.state is State.FAILED
    assert setting in end.error
    assert f"hint: an operator allows it with {setting}: true" in bench.reporter.messages()


# -- in containers -------------------------------------------------------------------------------------------------


@pytest.fixture
def host() -> str:
    place = os.environ.get("LANNER_TEST_DOCKER_HOST")
    if not place:
        pytest.skip("needs a container engine: LANNER_TEST_DOCKER_HOST names none")
    if choice.engine(place) is None:
        pytest.skip(f"needs a container engine: nothing answers at {place}")
    return place


@pytest.fixture
def contained(tmp_path: Path, host: str) -> Iterator[Bench]:
    """A worker whose scripts run in containers."""
    made = Bench(tmp_path, settings=TaskSettings(default_task_runner="docker", docker_host=host))
    yield made
    made.close()
    assert left(host, made) == []


def left(host: str, bench: Bench) -> list[str]:
    """Names of the containers that this bench's worker has on the engine."""
    from docker import APIClient

    wanted = {"label": f"{containers.ROOT_LABEL}={bench.spawner.root}"}
    api = APIClient(base_url=host, version="auto")
    return [name for each in api.containers(all=True, filters=wanted) for name in each["Names"]]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def shell(*lines: str, **properties: Any) -> str:
    values = {"containerImage": IMAGE, "commands": list(lines), **properties}
    listed = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in values.items())
    return f"  - id: sh\n    type: io.kestra.plugin.scripts.shell.Commands\n{listed}"


def in_background(bench: Bench, tasks: str) -> threading.Thread:
    claim = bench.claim(tasks)
    thread = threading.Thread(target=bench.runner.run, args=(claim.task_run.id, claim.epoch))
    thread.start()
    return thread


def test_outputs_files_and_both_streams_come_out_of_a_container(contained: Bench, host: str) -> None:
    end = contained.run(
        shell(
            "cat in.txt",
            "echo wrong >&2",
            'echo \'::{"outputs":{"n":3}}::\'',
            "echo made > out.txt",
            'echo kept > "$OUTPUT_DIR/more.txt"',
            'echo t > "$TMPDIR/t"',
            "[ -e /.dockerenv ] || [ -e /run/.containerenv ] && echo inside",
            taskRunner=RUNNER,
            inputFiles={"in.txt": "from outside\n"},
            outputFiles=["*.txt"],
            outputDirectory=True,
        )
    )

    assert (end.state, end.error) == (State.SUCCESS, None)
    assert (end.outputs["vars"], end.outputs["exitCode"]) == ({"n": 3}, 0)
    files = {name: contained.text(uri) for name, uri in end.outputs["outputFiles"].items()}
    assert files == {"in.txt": "from outside\n", "out.txt": "made\n", "more.txt": "kept\n"}
    shown = {(line.message, line.level) for line in contained.reporter.lines if line.level >= 30}
    assert shown == {("from outside", 30), ("inside", 30), ("wrong", 50)}
    ran = {"type": DOCKER, "reason": "named by the task", "engine": host, "image": IMAGE}
    assert (end.info["taskRunner"], end.info["isolation"]) == (ran, "container")
    assert f"Docker task runner: named by the task, image {IMAGE}" in contained.reporter.messages(20)
    assert sorted(entry.name for entry in contained.spawner.root.iterdir()) == ["heartbeat"]


def test_the_exit_code_is_the_containers(contained: Bench) -> None:
    end = contained.run(shell("echo part > out.txt", "exit 7", outputFiles=["out.txt"]))

    assert (end.state, end.error) == (State.FAILED, "Command failed with exit code 7")
    assert end.outputs["exitCode"] == 7
    assert list(end.outputs["outputFiles"]) == ["out.txt"]


def test_many_lines_arrive_complete_and_in_order(contained: Bench) -> None:
    end = contained.run(shell("i=0", "while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"))

    assert end.state is State.SUCCESS
    assert contained.reporter.messages() == [f"line {number}" for number in range(3000)]


def test_nothing_of_the_host_is_in_the_environment(contained: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANNER_DATABASE__URL", "postgresql://hidden")
    monkeypatch.setenv("PATH", f"/only/here:{os.environ['PATH']}")
    monkeypatch.setenv("SOME_TOKEN", "hidden")

    contained.run(shell("env", "ls -a ..", env={"MINE": "a b"}))

    seen = dict(line.split("=", 1) for line in contained.reporter.messages() if "=" in line)
    assert not [name for name, value in seen.items() if "hidden" in value or "/only/here" in value]
    assert (seen["MINE"], seen["LANNER_TASKRUN_ID"], seen["LANNER_ATTEMPT"]) == ("a b", contained.tr(), "0")
    folder = f"{contained.spawner.root}/{contained.tr()}-1"
    assert (seen["WORKING_DIR"], seen["TMPDIR"], seen["PWD"]) == (f"{folder}/work", f"{folder}/tmp", f"{folder}/work")
    assert {"spec.json", "log", "container.json"} & set(contained.reporter.messages()) == set()


def test_a_timeout_removes_the_container(contained: Bench, host: str) -> None:
    end = contained.run(shell("echo on", "sleep 60", timeout="PT2S"))

    assert (end.state, end.error) == (State.FAILED, "Timeout after PT2S")
    assert left(host, contained) == []


def test_a_kill_removes_the_container(contained: Bench, host: str) -> None:
    thread = in_background(contained, shell("echo on", "sleep 60"))
    until(lambda: "on" in contained.reporter.messages())
    assert left(host, contained) == [f"/lanner-{contained.tr()}-1"]

    contained.runner.cancel(contained.tr(), 1)
    thread.join(20)

    assert contained.reporter.ends[contained.tr(), 1].state is State.KILLED
    assert left(host, contained) == []


def test_a_grace_period_lets_a_script_say_its_last_word(tmp_path: Path, host: str) -> None:
    from runner.worker.limits import Limits

    bench = Bench(tmp_path, limits=Limits(kill_grace_s=10), settings=TaskSettings(docker_host=host))
    runner = {**RUNNER, "killGracePeriod": "PT4S"}
    waiting = "while :; do sleep 0.1; done"
    thread = in_background(bench, shell("trap 'echo bye; exit 0' TERM", "echo on", waiting, taskRunner=runner))
    until(lambda: "on" in bench.reporter.messages())

    bench.runner.cancel(bench.tr(), 1)
    thread.join(20)

    assert bench.reporter.messages() == ["on", "bye"]
    assert left(host, bench) == []
    bench.close()


def test_a_missing_image_that_may_not_be_pulled_is_one_clear_error(contained: Bench) -> None:
    end = contained.run(shell("true", containerImage="localhost/not/here:1", taskRunner=RUNNER))

    assert end.state is State.FAILED
    assert end.error == "image localhost/not/here:1 is not on this machine, and pullPolicy is NEVER"
    assert contained.reporter.messages() == [end.error]


def test_a_program_that_the_image_lacks_is_one_clear_error(contained: Bench) -> None:
    end = contained.run(
        f"  - id: py\n    type: io.kestra.plugin.scripts.python.Script\n    containerImage: {IMAGE}\n    script: pass\n"
    )

    assert end.state is State.FAILED
    assert end.error.startswith("the container could not be started: ")
    assert "python" in end.error


def test_a_size_that_is_none_is_one_clear_error(contained: Bench) -> None:
    end = contained.run(shell("true", taskRunner={**RUNNER, "memory": {"memory": "lots"}}))

    assert end.state is State.FAILED
    assert end.error.startswith("the container could not be made: ")


def test_more_memory_than_allowed_ends_the_script(contained: Bench) -> None:
    grow = "x=0123456789; while :; do x=$x$x; done"
    end = contained.run(shell(grow, taskRunner={**RUNNER, "memory": {"memory": "32MB", "memorySwap": "32MB"}}))

    assert (end.state, end.outputs["exitCode"]) == (State.FAILED, 137)
    # Not every engine notices what the kernel did.
    assert end.error in ("killed by the kernel: out of memory (oom)", "Command failed with exit code 137")


def test_options_without_effect_are_named(contained: Bench) -> None:
    end = contained.run(shell("true", taskRunner={**RUNNER, "delete": False}))

    assert end.state is State.SUCCESS
    assert [line for line in contained.reporter.messages() if "taskRunner.delete: false is ignored" in line]


def test_several_containers_at_once(contained: Bench) -> None:
    claims = [contained.claim(shell("echo $LANNER_TASKRUN_ID"), number=number) for number in range(8)]
    threads = [threading.Thread(target=contained.runner.run, args=(each.task_run.id, 1)) for each in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(contained.reporter.messages()) == sorted(each.task_run.id for each in claims)


def test_older_flows_say_docker_in_their_own_way(contained: Bench) -> None:
    end = contained.run(
        shell(
            "id", runner="DOCKER", containerImage=None, docker={"image": IMAGE, "user": "1234", "pullPolicy": "NEVER"}
        )
    )

    assert end.state is State.SUCCESS
    assert any(line.startswith("uid=1234") for line in contained.reporter.messages())


def test_another_user_of_the_image_may_write_the_folders(contained: Bench) -> None:
    runner = {**RUNNER, "user": "1234:1234"}
    files = {"inputFiles": {"a/in.txt": "x"}, "outputFiles": ["out.txt"]}
    end = contained.run(shell("cat a/in.txt > out.txt", "echo more >> a/in.txt", taskRunner=runner, **files))

    assert (end.state, end.error) == (State.SUCCESS, None)
    assert contained.text(end.outputs["outputFiles"]["out.txt"]) == "x"


def test_an_entry_point_gets_the_command(contained: Bench) -> None:
    runner = {**RUNNER, "entryPoint": ["/bin/echo", "would run"]}
    contained.run(shell("true", failFast=False, taskRunner=runner))

    assert contained.reporter.messages() == ["would run /bin/sh -c true"]


def test_volumes_that_an_operator_allows_are_mounted(tmp_path: Path, host: str) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.txt").write_text("from the host")
    bench = Bench(tmp_path, settings=TaskSettings(docker_host=host, docker_volumes=True))
    runner = {**RUNNER, "volumes": [f"{tmp_path}/shared:/mnt:ro"], "memory": {"memory": "64 MB"}, "cpu": {"cpus": 0.5}}

    bench.run(shell("cat /mnt/a.txt", taskRunner=runner))

    assert bench.reporter.messages() == ["from the host"]
    bench.close()


def test_children_of_a_working_directory_share_it(contained: Bench) -> None:
    inner = "".join(f"      {line}\n" for line in shell("echo x > a", taskRunner=RUNNER).splitlines())
    second = inner.replace("id: sh", "id: then").replace("echo x > a", "cat a")
    block = f"  - id: block\n    type: io.kestra.plugin.core.flow.WorkingDirectory\n    tasks:\n{inner}{second}"

    end = contained.run(block)

    assert [child.state for child in end.children] == [State.SUCCESS, State.SUCCESS]
    assert "x" in contained.reporter.messages()


# -- deaths --------------------------------------------------------------------------------------------------------


def kill_all(bench: Bench) -> None:
    """The supervisor and its client, at once."""
    pid = json.loads((bench.spawner.root / f"{bench.tr()}-1" / "pid").read_bytes())["pid"]
    for number in (pid, *marked(bench.tr(), 1)):
        os.kill(number, signal.SIGKILL)


def test_a_lost_attempt_leaves_no_container(contained: Bench, host: str) -> None:
    thread = in_background(contained, shell("echo on", "sleep 60"))
    until(lambda: "on" in contained.reporter.messages())

    kill_all(contained)
    thread.join(20)

    assert [run for run, _, _ in contained.reporter.lost_ones] == [contained.tr()]
    assert left(host, contained) == []


def test_a_killed_client_leaves_no_container(contained: Bench, host: str) -> None:
    thread = in_background(contained, shell("echo on", "sleep 60"))
    until(lambda: "on" in contained.reporter.messages())

    os.kill(json.loads((contained.spawner.root / f"{contained.tr()}-1" / "pid").read_bytes())["child"], signal.SIGKILL)
    thread.join(20)

    assert contained.reporter.ends[contained.tr(), 1].state is State.FAILED
    assert left(host, contained) == []


def test_a_sweep_removes_what_belongs_to_no_attempt_of_this_worker(contained: Bench, host: str, tmp_path: Path) -> None:
    from docker import APIClient

    api = APIClient(base_url=host, version="auto")
    other = str(tmp_path / "other")
    for attempt, root in (
        ("gone-1", str(contained.spawner.root)),
        ("alive-1", str(contained.spawner.root)),
        ("x-1", other),
    ):
        labels = {containers.ATTEMPT_LABEL: attempt, containers.ROOT_LABEL: root}
        api.create_container(
            IMAGE, entrypoint=["sleep"], command=["60"], labels=labels, name=f"{contained.unique}-{attempt}"
        )
    (contained.spawner.root / "alive-1").mkdir(parents=True)
    try:
        containers.sweep(contained.spawner.root, host)
        names = {name for each in api.containers(all=True) for name in each["Names"] if contained.unique in name}
        assert names == {f"/{contained.unique}-alive-1", f"/{contained.unique}-x-1"}
    finally:
        containers._remove(host, {containers.ROOT_LABEL: other})
        containers._remove(host, {containers.ROOT_LABEL: str(contained.spawner.root)})


OWNER = """
import sys, threading, time
from pathlib import Path
from runner.worker.running import TaskSettings
from tests.runner.worker.world import Bench
bench = Bench(Path(sys.argv[1]), settings=TaskSettings(docker_host=sys.argv[2]))
claim = bench.claim(Path(sys.argv[3]).read_text())
threading.Thread(target=bench.runner.run, args=(claim.task_run.id, 1), daemon=True).start()
time.sleep(60)
"""


def test_a_container_outlives_its_worker_and_is_taken_over(tmp_path: Path, host: str) -> None:
    tasks = shell(
        "echo start >> started",
        "while [ ! -e go ]; do sleep 0.1; done",
        'echo \'::{"outputs":{"n":4}}::\'',
        outputFiles=["started"],
        taskRunner=RUNNER,
    )
    (tmp_path / "tasks.yaml").write_text(tasks)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), host, str(tmp_path / "tasks.yaml")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    bench = Bench(tmp_path, settings=TaskSettings(docker_host=host))
    work = bench.spawner.root / f"{bench.tr()}-1" / "work"
    try:
        until((work / "started").exists)
    finally:
        owner.kill()
        owner.wait()
    bench.claim(tasks)
    (thread,) = [threading.Thread(target=carry_on) for carry_on in bench.runner.adopt()]
    thread.start()
    containers.sweep(bench.spawner.root, host)
    assert left(host, bench) == [f"/lanner-{bench.tr()}-1"]
    (work / "go").touch()
    thread.join(20)

    end = bench.reporter.ends[bench.tr(), 1]
    assert (end.state, end.outputs["vars"]) == (State.SUCCESS, {"n": 4})
    assert bench.text(end.outputs["outputFiles"]["started"]) == "start\n"
    assert left(host, bench) == []
    bench.close()
