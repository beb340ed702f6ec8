from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from runner.engine.states import State
from runner.worker.limits import Limits
from runner.worker.running import TaskSettings
from tests.runner.worker.world import Bench

SHELL = "io.kestra.plugin.scripts.shell.Commands"


def task(kind: str, **properties: object) -> str:
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in properties.items())
    return f"  - id: sh\n    type: io.kestra.plugin.scripts.{kind}\n{lines}"


def commands(*lines: str, **properties: object) -> str:
    return task("shell.Commands", commands=list(lines), **properties)


def test_stdout_is_info_stderr_is_error_and_exit_code_zero_succeeds(bench: Bench) -> None:
    end = bench.run(commands("echo out", "echo err >&2"))
    assert end.state is State.SUCCESS
    assert end.outputs == {"vars": {}, "exitCode": 0, "outputFiles": {}}
    shown = sorted((line.message, line.level) for line in bench.reporter.lines if line.level >= 30)
    assert shown == [("err", 50), ("out", 30)]


def test_another_exit_code_fails_with_kestras_words_and_keeps_outputs(bench: Bench) -> None:
    end = bench.run(commands('echo \'::{"outputs":{"n":3}}::\'', "exit 7"))
    assert end.state is State.FAILED
    assert end.error == "Command failed with exit code 7"
    assert end.outputs["exitCode"] == 7
    assert end.outputs["vars"] == {"n": 3}
    assert end.info["exitCode"] == 7


def test_all_lines_share_one_shell_and_the_first_failing_one_ends_it(bench: Bench) -> None:
    end = bench.run(commands("x=1", "echo $x", "false", "echo never"))
    assert end.state is State.FAILED
    assert bench.reporter.messages() == ["1", "Command failed with exit code 1"]


def test_without_fail_fast_only_the_last_code_counts(bench: Bench) -> None:
    end = bench.run(commands("false", "echo on", failFast=False))
    assert end.state is State.SUCCESS
    assert "on" in bench.reporter.messages()


def test_before_commands_run_in_the_same_shell(bench: Bench) -> None:
    bench.run(commands("echo $x", beforeCommands=["x=before"]))
    assert "before" in bench.reporter.messages()


def test_protocol_lines_are_consumed_from_both_streams(bench: Bench) -> None:
    lines = [
        {"outputs": {"a": 1, "tags": ["x"]}},
        {"outputs": {"a": 2}},
        {"metrics": [{"name": "rows", "type": "counter", "value": 5, "tags": {"k": "v"}}]},
        {"logs": [{"level": "WARN", "message": "careful"}, {"level": "NOPE", "message": "x"}]},
    ]
    texts = [f"echo '::{json.dumps(line)}::'" + (" >&2" if number == 1 else "") for number, line in enumerate(lines)]
    end = bench.run(commands(texts[0], "sleep 0.05", *texts[1:]))
    assert end.outputs["vars"] == {"a": 2, "tags": ["x"]}
    assert [(m.name, m.type, m.value, m.tags) for m in bench.reporter.metrics] == [("rows", "counter", 5.0, {"k": "v"})]
    messages = bench.reporter.messages()
    assert "careful" in messages
    assert not any("::" in message and "outputs" in message for message in messages)
    assert any(message.startswith("Invalid log") for message in messages)


def test_a_broken_protocol_line_warns_and_the_task_goes_on(bench: Bench) -> None:
    end = bench.run(commands("echo '::{oops}::'", "echo ' ::{\"outputs\":{}}::'", "echo done"))
    assert end.state is State.SUCCESS
    messages = bench.reporter.messages()
    assert messages[0].startswith("Invalid outputs '::{oops}::'")
    assert messages[1] == ' ::{"outputs":{}}::'


def test_python_script_knows_json_words_and_its_own_helpers(bench: Bench) -> None:
    lines = ["import helper", "assert [true, false, null] == [True, False, None]", "print(helper.word, __file__[-6:])"]
    script = "\n".join(lines)
    end = bench.run(task("python.Script", script=script, inputFiles={"helper.py": "word = 'hi'"}, outputFiles=["**"]))
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert "hi .sh.py" in bench.reporter.messages()
    assert ".sh.py" not in end.outputs["outputFiles"]


@pytest.mark.parametrize(
    "script",
    [
        "if true:\n  print('x')",
        "# note\n\n@staticmethod\ndef f(a):\n  return a\nprint('x' if true else 1)",
        "from __future__ import annotations\nprint('x' if true else 1)",
        '"""What it does."""\nprint("x" if true else 1)',
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nfor n in [true]:\n  print('x')",
        "\n\nprint('x' if not false else null)",
        "é = ['x',\n true]; print(é[0])",
    ],
)
def test_json_words_are_known_however_the_script_begins(bench: Bench, script: str) -> None:
    end = bench.run(task("python.Script", script=script))
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert "x" in bench.reporter.messages()


@pytest.mark.parametrize("start", ["a = 1\n", '"""doc\nmore"""\n', "\n\n\nif 1:\n  b = 1\n", "# one\n# two\n"])
def test_an_error_in_python_names_the_line_the_author_wrote(bench: Bench, start: str) -> None:
    bench.run(task("python.Script", script=f"{start}raise ValueError('here')"))
    line = start.count("\n") + 1
    assert any(f"line {line}," in message for message in bench.reporter.messages())


def test_node_script_runs(bench: Bench) -> None:
    end = bench.run(task("node.Script", script="console.log(`n ${1 + 1}`)"))
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert "n 2" in bench.reporter.messages()


def test_an_interpreter_that_is_missing_fails_with_one_line(bench: Bench) -> None:
    end = bench.run(task("julia.Script", script="println(1)"))
    assert end.state is State.FAILED
    assert end.error == "not found: julia"
    assert bench.reporter.messages() == ["not found: julia"]


def test_a_very_long_shell_text_still_runs(bench: Bench) -> None:
    end = bench.run(commands("# " + "x" * 200_000, "echo long"))
    assert end.state is State.SUCCESS
    assert "long" in bench.reporter.messages()


# -- environment --------------------------------------------------------------------------------------------------


def test_the_servers_environment_is_not_inherited(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANNER_DATABASE__URL", "postgresql://secret")
    monkeypatch.setenv("SECRET_X", "c2VjcmV0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    end = bench.run(
        task("python.Script", script="import os, json\nprint('::' + json.dumps({'outputs': dict(os.environ)}) + '::')")
    )
    env = end.outputs["vars"]
    assert set(env) <= {
        "PATH", "HOME", "LANG", "TZ", "TMPDIR", "WORKING_DIR", "PYTHONUNBUFFERED", "LC_CTYPE",
        "LANNER_IDEMPOTENCY_KEY", "LANNER_TASKRUN_ID", "LANNER_ATTEMPT", "LANNER_EPOCH",
    }  # fmt: skip
    assert (env["LANNER_TASKRUN_ID"], env["LANNER_EPOCH"], env["LANNER_ATTEMPT"]) == (bench.tr(), "1", "0")


def test_an_operator_lists_variables_to_pass_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSED_ON", "yes")
    bench = Bench(tmp_path, settings=TaskSettings(default_task_runner="process", inherit_env=("PASSED_ON",)))
    bench.run(commands("echo $PASSED_ON $OWN", env={"OWN": "{{ 1 + 1 }}"}))
    assert "yes 2" in bench.reporter.messages()
    bench.close()


def test_no_descriptor_of_the_server_is_open_in_a_script(bench: Bench, tmp_path: Path) -> None:
    with (tmp_path / "database").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        end = bench.run(commands("ls -l /proc/self/fd | grep -v 'total' | wc -l"))
    assert end.state is State.SUCCESS
    assert bench.reporter.messages() == ["4"]  # 0, 1, 2 and the folder that ls reads


def test_files_are_private_and_the_folder_is_gone_afterwards(bench: Bench) -> None:
    end = bench.run(commands("umask", "pwd", "touch $TMPDIR/x"))
    assert end.state is State.SUCCESS
    mask, folder = bench.reporter.messages()
    assert mask == "0077"
    assert not Path(folder).exists()
    assert [entry.name for entry in bench.spawner.root.iterdir()] == ["heartbeat"]


# -- files ---------------------------------------------------------------------------------------------------------


def test_input_files_are_written_and_output_files_kept_also_after_a_failure(bench: Bench) -> None:
    bench.storage.put("/company/team/f/executions/ex1/in.csv", b"a,b")
    end = bench.run(
        commands(
            "cat sub/in.csv > out.txt", "mkdir -p deep/er", "echo x > deep/er/y.csv", "exit 3",
            inputFiles={"sub/in.csv": "kestra:///company/team/f/executions/ex1/in.csv", "n.txt": None},
            outputFiles=["*.txt", "**.csv", "missing.txt"],
        )
    )  # fmt: skip
    assert end.state is State.FAILED
    kept = end.outputs["outputFiles"]
    assert set(kept) == {"out.txt", "deep/er/y.csv", "sub/in.csv"}
    assert bench.text(kept["out.txt"]) == "a,b"
    assert kept["out.txt"] == "kestra:///company/team/f/executions/ex1/tasks/sh/" + bench.tr() + "/out.txt"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_an_input_file_outside_of_the_folder_is_refused(bench: Bench, name: str) -> None:
    end = bench.run(commands("true", inputFiles={name: "x"}))
    assert end.state is State.FAILED
    assert "leaves the working directory" in end.error


def test_uris_inside_commands_become_local_paths(bench: Bench) -> None:
    bench.storage.put("/company/team/f/executions/ex1/a.txt", b"content")
    bench.run(commands("cat kestra:///company/team/f/executions/ex1/a.txt"))
    assert "content" in bench.reporter.messages()


def test_a_file_of_a_foreign_execution_is_refused(bench: Bench) -> None:
    bench.storage.put("/company/team/f/executions/other/a.txt", b"content")
    end = bench.run(commands("cat kestra:///company/team/f/executions/other/a.txt"))
    assert end.state is State.FAILED
    assert "didn't belong to the current execution" in end.error


def test_an_output_that_is_a_link_to_the_outside_or_no_file_fails_the_task(bench: Bench) -> None:
    assert "not a regular file" in bench.run(commands("ln -s /etc/passwd p.txt", outputFiles=["*.txt"])).error
    assert "not a regular file" in bench.run(commands("mkfifo q.txt", outputFiles=["*.txt"]), number=2).error


def test_a_link_inside_of_the_folder_is_followed(bench: Bench) -> None:
    end = bench.run(commands("echo x > a", "ln -s a latest.txt", outputFiles=["*.txt"]))
    assert bench.text(end.outputs["outputFiles"]["latest.txt"]) == "x\n"


def test_a_sparse_output_beyond_the_limit_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(file=1000))
    end = bench.run(commands("truncate -s 1001 big.bin", outputFiles=["*.bin"]))
    assert "big.bin" in end.error
    bench.close()


def test_working_dir_and_output_dir_are_known_to_expressions(bench: Bench) -> None:
    end = bench.run(
        commands("test {{ workingDir }} = $WORKING_DIR", "echo x > {{ outputDir }}/o.txt", outputDirectory=True)
    )
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert bench.text(end.outputs["outputFiles"]["o.txt"]) == "x\n"


def test_namespace_files_come_first_and_input_files_win(bench: Bench) -> None:
    bench.world.files = {
        ("company.team", "/a.sql"): b"a", ("company.team", "/q/b.sql"): b"b", ("company.team", "/c.py"): b"c",
    }  # fmt: skip
    bench.run(
        commands(
            "cat a.sql; echo",
            "ls -R | grep -c py || true",
            namespaceFiles={"include": ["**.sql"]},
            inputFiles={"a.sql": "own"},
        )
    )
    assert bench.reporter.messages() == ["own", "0"]


def test_the_context_file_is_there_for_scripts_that_import_kestra(bench: Bench) -> None:
    bench.variables = {"inputs": {"x": 1}}
    bench.run(commands("cat .kestra-execution-context.json", outputFiles=["**"]))
    written = json.loads(bench.reporter.messages()[0])
    assert written["inputs"] == {"x": 1}
    assert written["flow"]["id"] == "f"


def test_a_script_that_cannot_want_the_context_file_does_not_pay_for_it(bench: Bench) -> None:
    end = bench.run(task("python.Script", script="import os\nprint(os.listdir())"))
    assert end.state is State.SUCCESS, bench.reporter.messages()
    assert bench.reporter.messages() == ["['.sh.py']"]


# -- ends ----------------------------------------------------------------------------------------------------------


def pids_of(bench: Bench) -> list[int]:
    from runner.worker.bare.processes import marked

    return marked(bench.tr(), 1)


def start(bench: Bench, tasks: str, until: str) -> threading.Thread:
    """Run in a thread; returns once the script has said ``until``."""
    said = threading.Event()
    bench.reporter.on_lines = lambda lines: said.set() if any(until in line.message for line in lines) else None
    claim = bench.claim(tasks)
    thread = threading.Thread(target=bench.runner.run, args=(claim.task_run.id, claim.epoch))
    thread.start()
    assert said.wait(20)
    return thread


def test_a_timeout_fails_the_attempt_and_ends_its_processes(bench: Bench) -> None:
    end = bench.run(commands("sleep 60 & sleep 60", timeout="PT0.3S"))
    assert end.state is State.FAILED
    assert end.error == "Timeout after PT0.3S"
    assert pids_of(bench) == []


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(600)
    os._exit(0)
time.sleep(0.1)
print('started', flush=True)
time.sleep(600)
"""


def test_kill_ends_grandchildren_that_left_the_session_and_ignore_term(bench: Bench) -> None:
    thread = start(bench, task("python.Script", script=STUBBORN), "started")
    assert len(pids_of(bench)) >= 2
    assert bench.runner.cancel(bench.tr(), 1)
    thread.join(20)
    assert bench.reporter.ends[bench.tr(), 1].state is State.KILLED
    assert pids_of(bench) == []


def test_what_outlives_a_script_is_ended(bench: Bench) -> None:
    end = bench.run(commands("setsid sleep 600 > /dev/null 2>&1 &", "nohup sleep 600 > /dev/null 2>&1 &", "echo done"))
    assert end.state is State.SUCCESS
    assert pids_of(bench) == []


def test_a_background_child_may_finish_its_output(bench: Bench) -> None:
    bench.run(commands("(sleep 0.2; echo late) &", "echo early"))
    assert bench.reporter.messages() == ["early", "late"]


def test_a_script_that_is_killed_from_outside_says_so(bench: Bench) -> None:
    end = bench.run(commands("kill -9 $$"))
    assert end.outputs["exitCode"] == 137
    assert end.error == "Command failed with exit code 137"


def test_a_lost_supervisor_is_told_and_leaves_no_process(bench: Bench) -> None:
    thread = start(bench, commands("echo started", "sleep 600"), "started")
    pid = json.loads((bench.spawner.folder(bench.tr(), 1) / "pid").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    thread.join(20)
    assert bench.reporter.lost_ones[0][:2] == (bench.tr(), 1)
    assert pids_of(bench) == []


def test_more_processes_than_allowed_end_the_script(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(processes=20))
    end = bench.run(commands("for i in $(seq 60); do sleep 600 & done", "wait"))
    assert end.error == "killed: more processes than allowed (pids)"
    assert pids_of(bench) == []
    bench.close()


# -- amounts -------------------------------------------------------------------------------------------------------


def test_numbered_lines_arrive_complete_and_in_order(bench: Bench) -> None:
    end = bench.run(commands("seq 20000"))
    assert end.state is State.SUCCESS
    assert bench.reporter.messages() == [str(n) for n in range(1, 20001)]
    assert [line.seq for line in bench.reporter.lines if line.seq is not None] == list(range(20000))


def test_a_flood_keeps_head_and_tail_and_never_blocks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(log_head=1000, log_tail=200))
    end = bench.run(commands("seq 100000 | head -c 400000"))
    assert end.state is State.SUCCESS
    messages = bench.reporter.messages()
    assert messages[0] == "1"
    assert sum(len(m) for m in messages) < 1500
    assert any(m.endswith("lines dropped") for m in messages)
    bench.close()


def test_one_marker_stands_between_head_and_tail_also_for_who_sorts_by_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(log_head=1000, log_tail=200))
    bench.run(commands("seq 100000; sleep 0.2; echo done"))
    lines = [line for line in bench.reporter.lines if line.seq is not None]
    assert sorted(lines, key=lambda line: line.at) == lines
    (marker,) = [n for n, line in enumerate(lines) if line.message.endswith(" lines dropped")]
    kept = [int(line.message) for line in lines if line.message.isdigit()]
    assert lines[-1].message == "done"
    assert kept[:marker] == list(range(1, marker + 1))
    assert lines[marker].message == f"{100_001 - (len(lines) - 1)} lines dropped"
    bench.close()


def test_beyond_the_rate_the_last_lines_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(log_rate=10, log_tail=100))
    bench.run(commands("seq 5000"))
    messages = bench.reporter.messages()
    head = messages.index(next(m for m in messages if m.endswith(" lines dropped")))
    assert messages[:head] == [str(n) for n in range(1, head + 1)]
    assert messages[-1] == "5000"
    assert 600 <= head < 1000
    bench.close()


def test_empty_lines_without_end_take_no_memory_without_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(log_rate=10))
    bench.run(commands("head -c 200000 /dev/zero | tr '\\0' '\\n'"))
    assert len(bench.reporter.messages()) < 55_000
    bench.close()


def test_lines_wait_in_the_spool_while_the_database_is_away(bench: Bench) -> None:
    claim = bench.claim(commands("head -c 60000 /dev/zero | tr '\\0' '\\n'; echo end"))

    def fall(lines: object) -> None:
        if timer.ident is None:
            bench.reporter.down.set()
            timer.start()

    timer = threading.Timer(1.0, bench.reporter.down.clear)
    bench.reporter.on_lines = fall
    bench.runner.run(claim.task_run.id, claim.epoch)
    timer.join()
    assert len(bench.reporter.messages()) == 60_001


@pytest.mark.slow
def test_a_hundred_thousand_lines_at_once_arrive_all(bench: Bench) -> None:
    bench.run(commands("seq -f 'line %.0f of a burst that is written at once, as many tools do when they fail' 100000"))
    messages = bench.reporter.messages()
    assert len(messages) == 100_000
    assert [line.seq for line in bench.reporter.lines if line.seq is not None] == list(range(100_000))


def test_a_supervisor_does_not_hold_the_servers_messages_open(bench: Bench) -> None:
    """Whoever reads them from a pipe would wait for the last script after the server has ended (R22)."""
    bench.run(commands("readlink /proc/$PPID/fd/2"))
    assert bench.reporter.messages() == ["/dev/null"]


def test_a_line_without_end_is_cut(bench: Bench) -> None:
    end = bench.run(commands("head -c 5000000 /dev/zero | tr '\\0' x"))
    assert end.state is State.SUCCESS
    (message,) = bench.reporter.messages()
    assert message.startswith("xxx")
    assert message.endswith("[4967232 bytes cut]")


def test_binary_output_is_kept_as_text(bench: Bench) -> None:
    end = bench.run(commands("printf 'a\\000b\\377\\n'"))
    assert end.state is State.SUCCESS
    assert bench.reporter.messages() == ["a\ufffdb\ufffd"]


def test_large_protocol_outputs_arrive_whole_and_too_large_ones_fail(bench: Bench) -> None:
    write = "import json\nprint('::' + json.dumps({'outputs': {'x': 'y' * %d}}) + '::')"
    assert len(bench.run(task("python.Script", script=write % 300_000)).outputs["vars"]["x"]) == 300_000
    end = bench.run(task("python.Script", script=write % (11 << 20)), number=2)
    assert end.state is State.FAILED
    assert "outputs are" in end.error


def test_secrets_are_masked_in_lines_and_errors(bench: Bench) -> None:
    bench.secrets.add("hunter2-secret")
    bench.run(commands("echo hunter2-secret", "printf hunter2-secret | base64", "exit 1"))
    assert bench.reporter.messages()[:2] == ["******", "******"] or "hunter2" not in "".join(bench.reporter.messages())


def test_a_hundred_short_scripts_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    claims = [bench.claim(commands(f"echo n{n}"), number=n) for n in range(100)]
    threads = [threading.Thread(target=bench.runner.run, args=(c.task_run.id, 1)) for c in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert {end.state for end in bench.reporter.ends.values()} == {State.SUCCESS}
    assert len(bench.reporter.ends) == 100
    assert sorted(bench.reporter.messages()) == sorted(f"n{n}" for n in range(100))
    bench.close()


def test_a_short_outage_of_the_database_loses_nothing(bench: Bench) -> None:
    claim = bench.claim(commands("seq 3"))
    threading.Timer(0.6, bench.reporter.down.clear).start()
    real = bench.reporter.claim
    bench.reporter.claim = lambda *args: (real(*args), bench.reporter.down.set())[0]  # type: ignore[method-assign]
    assert bench.runner.run(claim.task_run.id, 1)
    assert bench.reporter.messages() == ["1", "2", "3"]
    assert bench.reporter.ends[bench.tr(), 1].state is State.SUCCESS


# -- runners -------------------------------------------------------------------------------------------------------


def test_the_runner_and_its_reason_are_in_log_and_attempt(bench: Bench) -> None:
    end = bench.run(commands("true", taskRunner={"type": "io.kestra.plugin.core.runner.Process"}))
    assert end.info["taskRunner"] == {"type": "io.kestra.plugin.core.runner.Process", "reason": "named by the task"}
    assert "Process task runner: named by the task" in bench.reporter.messages(20)


def test_a_named_container_runner_without_engine_fails_with_one_line(bench: Bench) -> None:
    end = bench.run(
        commands(
            "true", taskRunner={"type": "io.kestra.plugin.scripts.runner.docker.Docker", "host": "unix:///nowhere"}
        )
    )
    assert end.state is State.FAILED
    assert end.error == "no container engine is reachable at unix:///nowhere"


def test_an_ignored_image_is_a_warning(bench: Bench) -> None:
    bench.run(commands("true", containerImage="ubuntu:24.04"))
    assert any(line.level == 40 and "ubuntu:24.04 is ignored" in line.message for line in bench.reporter.lines)


def test_a_kill_that_comes_while_the_attempt_is_being_claimed_counts(bench: Bench) -> None:
    claim = bench.claim(commands("echo never"))
    real = bench.reporter.claim

    def slow(*args: Any) -> Any:
        taken = real(*args)
        assert bench.runner.cancel(claim.task_run.id, 1)
        return taken

    bench.reporter.claim = slow  # type: ignore[method-assign]
    bench.runner.run(claim.task_run.id, 1)
    assert bench.reporter.ends[bench.tr(), 1].state is State.KILLED
    assert bench.reporter.messages() == []


def test_commands_that_hold_a_secret_are_no_argument_of_a_process(bench: Bench) -> None:
    """Everybody on a machine may read the arguments of every process."""
    bench.secrets.add("hunter2-secret")
    end = bench.run(commands("tr '\\0' ' ' < /proc/$$/cmdline | grep -c hunter2 || true", ": hunter2-secret", "exit 3"))

    assert end.error == "Command failed with exit code 3"
    assert "0" in bench.reporter.messages()
